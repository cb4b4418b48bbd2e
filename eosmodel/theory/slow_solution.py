"""What a slow flow gives back: its regimes and its rows."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from eosmodel._status import Status


class SlowRegime(IntEnum):
    """What the oscillation does while λ moves slowly. −1 in a solution: no regime, the flow has ended.

    BELOW: the fast map contracts to r = 0; x = 0.
    CLAMPED: the tuner holds r in a bounded invariant measure; nothing pins λ.
    PINNED: the tuner lets r grow above an edge in λ, and self-stabilisation holds λ there: ⟨ηx²⟩ = 2⟨η⟩α/β.
    NEUTRAL: the tuner is at the edge for every λ and, in the limit, every r: x² is slow itself.
    """

    BELOW = 0
    CLAMPED = 1
    PINNED = 2
    NEUTRAL = 3


class SlowSolution(NamedTuple):
    """A solution of the slow flow at the times saved; rows after its end are NaN, and −1 in `regime`.

    Fields
        time: t in steps, shape (times,), as are the rows below.
        regime: code of the `SlowRegime`.
        sharpness, center_loss, alpha, beta, kappa, bulk_gradient_sq: λ, L̄, α, β, κ, G.
        stepsize: ⟨η⟩.
        oscillation: x² as ⟨ηx²⟩/⟨η⟩.
        r: λ²x²/G for that x².
        s: ⟨η⟩λ.
        edge_exponent: Λ = ⟨ln|1 − ηλ|⟩ of the fast map: < 0 below the edge, 0 at it.
        lyapunov: largest Lyapunov exponent of the fast map where it is clamped, NaN elsewhere; −1/lyapunov steps are
            its memory, which averaging takes to be short.
        event_time, entered: when a regime was entered after the start, and which, shape (events,).
        status: how the flow ended, a `Status`.
    """

    time: np.ndarray
    regime: np.ndarray
    sharpness: np.ndarray
    center_loss: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    kappa: np.ndarray
    bulk_gradient_sq: np.ndarray
    stepsize: np.ndarray
    oscillation: np.ndarray
    r: np.ndarray
    s: np.ndarray
    edge_exponent: np.ndarray
    lyapunov: np.ndarray
    event_time: np.ndarray
    entered: np.ndarray
    status: Status
