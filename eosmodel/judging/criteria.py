"""The criteria that the first theory of a validation should meet, as claims over all cells; see `judging.cells`."""

import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.judging.cells import (
    Criterion,
    criteria,
    has_bands,
    is_near,
    largest_error,
    lasted,
    statistical,
    statistics_of,
)
from eosmodel.judging.quantities import LOST, NEAR, STATISTICS
from eosmodel.judging.verdicts import Claim, Verdict, combine
from eosmodel.results.formatting import number
from eosmodel.theory import of_labels

SHARE = 0.9
"""Share of the cells that should meet a criterion."""
COST = 1.5
"""Bound on the cost of a theory's step, in tracked training steps."""
BEGINNING = 20
"""Steps in which a tuner jumps to the edge, before anything oscillates about a valley."""


def judge(validation: xr.Dataset) -> tuple[Claim, ...]:
    """The criteria, as claims about the first theory, with the numbers behind each.

    Args:
        validation: dataset over (workload, loss_function, tuner, seed, theory), as its plan combines the blocks.
    """
    cells = validation.stack(cell=("workload", "loss_function", "tuner", "seed"))
    name = str(validation.theory.values[0])
    theory = cells.sel(theory=name)
    # A run that diverged before it could be judged is no failed prediction.
    ran = (cells.judged_steps > 1).values
    complete = lasted(theory).values
    chaotic = (cells.chaotic == 1).values
    copy = statistics_of(cells, "copy")
    of_copy = {key: criterion.met.values for key, criterion in statistical(copy).items()}
    claims = []
    for key, criterion in criteria(theory).items():
        mask = ran & (~chaotic if key == "steps" else chaotic & (key != "band" or has_bands(theory)))
        claims.append(_criterion(key, name, criterion, mask, complete, of_copy.get(key)))
    claims.append(_as_a_run(name, statistics_of(theory, "single"), copy, ran & chaotic, complete))
    claims.append(_cost(name, theory.cost.values[ran & complete]))
    claims.append(_warned(name, theory, ran & complete & ~chaotic))
    claims.append(_begun(name, theory, ~chaotic & (cells.judged_steps >= BEGINNING).values))
    baselines = _baselines(validation)
    claims += [_ahead(name, other, cells, ran & complete & ~chaotic) for other in baselines]
    others = [other for other in validation.theory.values[1:].tolist() if other not in baselines]
    claims += [_beside(name, other, cells, ran & ~chaotic) for other in others]
    return tuple(claims)


def _untested(id: str, text: str, criterion: str, reason: str) -> Claim:
    return Claim(id, text, criterion, Verdict.NOT_TESTED, (reason,))


def _criterion(
    id: str, name: str, criterion: Criterion, mask: np.ndarray, complete: np.ndarray, of_copy: np.ndarray | None
) -> Claim:
    """Whether a criterion is met in the cells of the mask by complete predictions; the perturbed copy beside it."""
    text = f"{name}: {criterion.text} ({'predictable' if id == 'steps' else 'chaotic'} runs)"
    rule = f"at least {number(SHARE, '.0%')} of the cells; a theory that ended early does not meet it"
    met, values = (criterion.met.values & complete)[mask], criterion.values.values[mask]
    if not met.size:
        return _untested(id, text, rule, "no such cell")
    known = values[np.isfinite(values)]
    evidence = (
        f"{met.sum()} of {met.size} cells ({number(met.mean(), '.0%')})",
        f"median {number(np.median(known))}" if known.size else "no value is known",
        f"theory ended early in {(mask & ~complete).sum()}",
        *(() if of_copy is None else (f"the run's perturbed copy is as near in {(mask & of_copy).sum()}",)),
    )
    return Claim(id, text, rule, combine(met.tolist(), SHARE), evidence)


def _as_a_run(name: str, single: xr.Dataset, copy: xr.Dataset, mask: np.ndarray, complete: np.ndarray) -> Claim:
    """Whether one prediction is as near to a chaotic run as the run's perturbed copy; more cannot be asked of it."""
    text = f"{name}: one prediction is as near to a chaotic run as one more run of the network"
    criterion = (
        "a sign test at 5 % does not find the run's perturbed copy nearer more often, for mean λ, law of s and edge "
        "exponent"
    )
    if mask.sum() < 6:  # the sign test of five has p = 2/2⁵ at least
        return _untested("as-a-run", text, criterion, "fewer than six such runs")
    met, evidence = [], []
    for symbol, key in zip(("mean λ", "KS", "Λ"), STATISTICS, strict=True):
        # A distance that is not known, or of a theory that has ended, is not near.
        of_theory, of_copy = (np.nan_to_num(abs(one[key].values), nan=np.inf) for one in (single, copy))
        of_theory = np.where(complete, of_theory, np.inf)
        nearer, further = int((mask & (of_theory < of_copy)).sum()), int((mask & (of_theory > of_copy)).sum())
        chance = _sign_test(nearer, further)
        met.append(nearer >= further or chance >= 0.05)
        evidence.append(f"{symbol} nearer in {nearer} of {nearer + further} (p = {number(chance, '.1g')})")
    return Claim("as-a-run", text, criterion, combine(met), tuple(evidence))


def _sign_test(more: int, less: int) -> float:
    """The p-value of a two-sided sign test; 1 without data."""
    from scipy.stats import binomtest  # slow to import

    return float(binomtest(more, more + less).pvalue) if more + less else 1.0


def _cost(name: str, ratios: np.ndarray) -> Claim:
    known = ratios[np.isfinite(ratios)]
    text, criterion = f"{name}: a step costs at most {number(COST)} tracked training steps", "median over cells"
    if not known.size:
        return _untested("cost", text, criterion, "no such cell")
    low, middle, high = np.quantile(known, (0.1, 0.5, 0.9))
    spread = f"80 % of the cells from {number(low, '.2f')} to {number(high, '.2f')}"
    evidence = (f"median {number(middle, '.2f')}", spread)
    return Claim("cost", text, criterion, combine([bool(middle <= COST)]), evidence)


def _warned(name: str, theory: xr.Dataset, mask: np.ndarray) -> Claim:
    """Whether the errors are larger where the theory says that it leaves out more."""
    text = f"{name}: where it leaves out more of the gradient, its errors are larger (predictable runs)"
    criterion = "rank correlation of ε with the largest of the three errors, positive with p < 0.01"
    worst = largest_error(theory).values
    known = mask & np.isfinite(worst) & np.isfinite(theory.left_out.values)
    share, error = theory.left_out.values[known], worst[known]
    if known.sum() < 3 or min(np.ptp(share), np.ptp(error)) == 0:
        return _untested("warned", text, criterion, "fewer than three such runs, or all alike")
    from scipy.stats import spearmanr  # slow to import

    correlation = spearmanr(share, error, alternative="greater")
    chance = float(correlation.pvalue)
    evidence = f"{number(correlation.statistic, '.2f')} over {known.sum()} runs, p = {number(chance, '.1g')}"
    return Claim("warned", text, criterion, combine([chance < 0.01]), (evidence,))


def _begun(name: str, theory: xr.Dataset, mask: np.ndarray) -> Claim:
    """Whether a theory that misses a run lost it at the beginning."""
    text = f"{name}: where it is off, it goes off in the first {BEGINNING} steps (predictable runs)"
    criterion = (
        f"|Δ ln λ| > {number(LOST)} by then in more than half of the runs with an error above {number(NEAR)}, and in a "
        "smaller share of the others"
    )
    near, early = is_near(theory).values, (theory.reach < BEGINNING).values
    missed, others = early[mask & ~near], early[mask & near]
    if not missed.size:
        return _untested("begun", text, criterion, "no such run")
    share = missed.mean()
    met = bool(share > 0.5 and (not others.size or others.mean() < share))
    evidence = f"in {missed.sum()} of {missed.size}, and in {others.sum()} of {others.size} others"
    return Claim("begun", text, criterion, combine([met]), (evidence,))


def _baselines(validation: xr.Dataset) -> list[str]:
    names = validation.theory.values.tolist()
    baselines = {label for label, theory in of_labels(names).items() if theory.baseline}
    return [name for name in names[1:] if name in baselines]


def _ahead(name: str, other: str, cells: xr.Dataset, mask: np.ndarray) -> Claim:
    """By what factor the error of λ is smaller than another theory's."""
    own, others = (cells.sharpness_error.sel(theory=theory).values[mask] for theory in (name, other))
    known = np.isfinite(own) & np.isfinite(others) & (own > 0)
    text = f"{name} is nearer to λ than {other} (predictable runs)"
    criterion = f"smaller error in at least {number(SHARE, '.0%')} of the cells that both have"
    if not known.any():
        return _untested(f"ahead-{other}", text, criterion, "no such cell")
    factor = others[known] / own[known]
    low, middle, high = np.quantile(factor, (0.1, 0.5, 0.9))
    evidence = (
        f"in {number((factor > 1).mean(), '.0%')} of {known.sum()} cells",
        f"factor {number(middle)}, 80 % from {number(low, '.2g')} to {number(high)}",
    )
    return Claim(f"ahead-{other}", text, criterion, combine((factor > 1).tolist(), SHARE), evidence)


def _beside(name: str, other: str, cells: xr.Dataset, mask: np.ndarray) -> Claim:
    """Whether another theory meets the criterion of predictable runs where the first does not, or the other way."""
    first, second = (cells.sel(theory=theory) for theory in (name, other))
    mask = mask & (second.theory_status != int(Status.NOT_RUN)).values
    text = f"{other} meets the criterion in more of the predictable runs than {name}"
    criterion = (
        f"more runs with errors of λ, η and L ≤ {number(NEAR)}, and p < 0.05 in a sign test of gained against lost runs"
    )
    if not mask.any():
        return _untested(f"beside-{other}", text, criterion, "no such run")
    own, others = ((is_near(theory) & lasted(theory)).values[mask] for theory in (first, second))
    gained, lost = int((others & ~own).sum()), int((own & ~others).sum())
    chance = _sign_test(gained, lost)
    more = gained > lost
    # An error that is not known is not small.
    medians = (
        number(np.median(np.nan_to_num(largest_error(theory).values[mask], nan=np.inf))) for theory in (second, first)
    )
    evidence = (
        f"{others.sum()} against {own.sum()} of {own.size}, {gained} gained and {lost} lost "
        f"(p = {number(chance, '.1g')}), largest error {' against '.join(medians)} in the median"
    )
    return Claim(f"beside-{other}", text, criterion, combine([more, more and chance < 0.05]), (evidence,))
