"""What a validation measures of runs and of theories: names, meanings, and the bounds that these use."""

from eosmodel.results import measures
from eosmodel.results.formatting import number
from eosmodel.results.names import Variable

NEAR = 0.05
"""Bound on the errors of λ, η and L: of a perturbed copy, for a predictable run; of a theory, for a correct one."""
FITTED = 0.01
"""A run is judged until its smoothed loss is this share of the first one. Little is left to learn after that, and under
cross-entropy the curvature vanishes."""

LOST = 0.1
"""A theory has lost the sharpness where |Δ ln λ| is above this."""
AT_EDGE = 1.8
"""A mode is at the edge if its ηλ is above this."""

STATISTICS: dict[str, Variable] = {
    "mean_sharpness": Variable("Δ ln⟨λ⟩", "ln of the mean λ over the last half, less that of the run"),
    "distance": Variable("KS", "Kolmogorov–Smirnov distance of the laws of s = ηλ over the last half, from the run"),
    "exponent_difference": Variable("ΔΛ", "edge exponent less that of the run"),
}
"""Differences in statistics between a run and another run or a prediction; chaotic runs are compared by these."""

RUN_NUMBERS: dict[str, Variable] = {
    "judged_steps": Variable(
        "T", f"steps judged: until the smoothed loss is {number(FITTED)} of the first, or the end"
    ),
    "first_edge": Variable("t₂", "first step at which ηλ is above 1.95, NaN if it never is"),
    "final_loss": Variable("L", f"loss, mean over the last {measures.WINDOW} judged steps"),
    "final_sharpness": Variable("λ", f"sharpness, mean over the last {measures.WINDOW} judged steps"),
    "initial_sharpness": Variable("λ₀", "sharpness at the first step"),
    "median_edge_product": Variable("median s", "median of s = ηλ over the last half"),
    "edge_exponent": Variable("Λ", "mean of ln|1 − s| over the last half"),
    "edge_modes": Variable("k", f"modes with ηλ_i > {number(AT_EDGE)}, of those tracked, mean over the last half"),
    "excess": Variable(
        "L/L̄ − 1", "excess of the loss at the iterate over that at the centre, median over the last half"
    ),
    "copy_error": Variable("copy", "largest of the errors of λ, η and L of the perturbed copy"),
    "chaotic": Variable(
        "chaotic", f"1: the error of the perturbed copy is above {number(NEAR)}; 0: the run is predictable"
    ),
} | {
    f"copy_{key}": Variable(f"copy {of.symbol}", f"{of.meaning}, of the perturbed copy")
    for key, of in STATISTICS.items()
}
"""Numbers of a run, kept beside its `status` and `steps`."""

THEORY_NUMBERS: dict[str, Variable] = {
    "sharpness_error": Variable("error λ", "median over steps of |Δ ln λ|, of moving averages over 25 steps"),
    "stepsize_error": Variable("error η", "the same of the step size"),
    "loss_error": Variable("error L", "the same of the loss"),
    **STATISTICS,
    **{
        f"single_{key}": Variable(f"one {of.symbol}", f"{of.meaning}, one prediction") for key, of in STATISTICS.items()
    },
    "sharpness_coverage": Variable("cover λ", "share of the steps with λ of the run in the ensemble's 90 % band"),
    "stepsize_coverage": Variable("cover η", "the same of the step size"),
    "loss_coverage": Variable("cover L", "the same of the loss"),
    "reach": Variable(
        "reach", f"steps until the smoothed |Δ ln λ| first exceeds {number(LOST)}; all judged steps if never"
    ),
    "left_out": Variable(
        "ε", "share of the gradient that the theory leaves out, mean over steps; NaN if it records none"
    ),
    "cost": Variable("cost", "seconds a step, relative to the tracked run"),
}
"""Numbers of a theory of a run, kept beside its `theory_status` and `theory_steps`."""
