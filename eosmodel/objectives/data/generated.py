"""Data sets that are generated: sequences with a target at every position."""

from typing import Unpack

import numpy as np

from eosmodel._checks import check_count
from eosmodel.objectives.data.arrays import Data
from eosmodel.objectives.data.choice import UP_TO, Choice, count_of


def sorting(samples: int | str | None = UP_TO, length: int = 8, tokens: int = 8, **choice: Unpack[Choice]) -> Data:
    """Sequences to be sorted: random tokens x, the same in order y, both one-hot (samples, length, tokens).

    Args:
        samples: number of samples; None for 1000. A smaller number gives the first of these.
        length: number of tokens in a sequence.
        tokens: number of different tokens; they are drawn uniformly.
        choice: `subset_seed`, by which others are drawn, and `test_samples`, which are drawn after the rest.

    Example:
        >>> from eosmodel.objectives import data
        >>> pairs = data.sorting(2, length=4)
        >>> pairs.x.argmax(-1)[0].tolist(), pairs.y.argmax(-1)[0].tolist()
        ([6, 5, 4, 2], [2, 4, 5, 6])
    """
    count, rng = _generator("sorting", samples, length, tokens, **choice)
    drawn = rng.integers(tokens, size=(count, length))
    one_hot = np.eye(tokens)
    return _split("sorting", one_hot[drawn], one_hot[np.sort(drawn, axis=1)], **choice)


def markov(samples: int | str | None = UP_TO, length: int = 16, tokens: int = 4, **choice: Unpack[Choice]) -> Data:
    """Sequences of Markov chains x and their next tokens y, both one-hot (samples, length, tokens).

    Every sequence has a chain of its own, whose transition probabilities from each token are uniform on the simplex: a
    model has to learn how often one token has followed another earlier in the sequence.

    Args:
        samples: number of samples; None for 1000. A smaller number gives the first of these.
        length: number of tokens in a sequence.
        tokens: number of different tokens.
        choice: as in `sorting`.

    Example:
        >>> from eosmodel.objectives import data
        >>> chains = data.markov(2, length=6)
        >>> bool((chains.x[:, 1:] == chains.y[:, :-1]).all())
        True

    Source: Edelman et al., arXiv 2402.11004.
    """
    count, rng = _generator("markov", samples, length, tokens, **choice)
    drawn = rng.random((count, tokens**2 + length + 1))
    steps = -np.log1p(-drawn[:, : tokens**2]).reshape(count, tokens, tokens)  # exponential: normalised, uniform
    upto = np.cumsum(steps / steps.sum(axis=2, keepdims=True), axis=2)
    chances, rows = drawn[:, tokens**2 :], np.arange(count)
    chain = [np.minimum((chances[:, 0] * tokens).astype(int), tokens - 1)]
    for chance in chances[:, 1:].T:
        below = (upto[rows, chain[-1]] <= chance[:, None]).sum(axis=1)
        chain.append(np.minimum(below, tokens - 1))
    one_hot = np.eye(tokens)[np.stack(chain, axis=1)]
    return _split("markov", one_hot[:, :-1], one_hot[:, 1:], **choice)


def _generator(
    name: str, samples: int | str | None, length: int, tokens: int, **choice: Unpack[Choice]
) -> tuple[int, np.random.Generator]:
    """The number of samples to draw, those held out included, and what draws them; sizes are checked."""
    if choice.get("classes") is not None:
        raise ValueError(f"{name}: its samples are of no class; leave out classes")
    count = count_of(name, samples, UP_TO) if samples is None or isinstance(samples, str) else samples
    for key, value in (("samples", count), ("length", length), ("tokens", tokens)):
        check_count(name, key, value)
    held_out, seed = choice.get("test_samples", 0), choice.get("subset_seed")
    check_count(name, "test_samples", held_out, 0)
    if seed is not None:
        check_count(name, "subset_seed", seed, 0)
    return count + held_out, np.random.default_rng(0 if seed is None else seed)


def _split(name: str, x: np.ndarray, y: np.ndarray, **choice: Unpack[Choice]) -> Data:
    """The data set of the first samples, with the last ones held out."""
    count = len(x) - choice.get("test_samples", 0)
    test = Data(name, x[count:], y[count:], y.shape[-1]) if count < len(x) else None
    return Data(name, x[:count], y[:count], y.shape[-1], test=test)
