"""What a validation measures of every run and of every theory of it, by name, and the bounds in these measures."""

from eosmodel.results import measures
from eosmodel.results.names import Variable

NEAR = 0.05
"""An error up to this is one of a prediction step by step."""
FITTED = 0.01
"""A run is judged until its smoothed loss has fallen to this share of the first: little is left to learn then, and
under cross-entropy no curvature either."""

LOST = 0.1
"""The sharpness has been lost where the errors of its logarithm are above this."""
AT_EDGE = 1.8
"""From which ηλ on a mode counts as being at the edge."""

STATISTICS: dict[str, Variable] = {
    "mean_sharpness": Variable("Δ ln⟨λ⟩", "ln of the mean λ over the last half, against that of the run"),
    "distance": Variable("KS", "Kolmogorov–Smirnov distance of s = ηλ from the run, over the last half"),
    "exponent_difference": Variable("ΔΛ", "edge exponent less that of the run"),
}
"""How far another run, or a prediction, is from a run in what a chaotic run can be known by."""

RUN_NUMBERS: dict[str, Variable] = {
    "judged_steps": Variable("T", f"steps judged: until the smoothed loss is {FITTED:g} of the first, or the end"),
    "first_edge": Variable("t₂", "first step at which ηλ is above 1.95, NaN if it never is"),
    "final_loss": Variable("L", f"loss, mean over the last {measures.WINDOW} judged steps"),
    "final_sharpness": Variable("λ", f"sharpness, mean over the last {measures.WINDOW} judged steps"),
    "initial_sharpness": Variable("λ₀", "sharpness at the first step"),
    "median_edge_product": Variable("median s", "median of s = ηλ over the last half"),
    "edge_exponent": Variable("Λ", "mean of ln|1 − s| over the last half"),
    "edge_modes": Variable("k", f"modes with ηλ_i > {AT_EDGE}, of those followed, mean over the last half"),
    "excess": Variable("L/L̄ − 1", "loss of the oscillation against that of the centre, median over the last half"),
    "copy_error": Variable("copy", "largest of the errors of λ, η and L of the perturbed copy"),
    "chaotic": Variable("chaotic", f"1: the error of the perturbed copy is above {NEAR:g}; 0: the run is predictable"),
} | {
    f"copy_{key}": Variable(f"copy {of.symbol}", f"{of.meaning}, of the perturbed copy")
    for key, of in STATISTICS.items()
}
"""What a cell keeps of every run, beside `status` and `steps`."""

THEORY_NUMBERS: dict[str, Variable] = {
    "sharpness_error": Variable("error λ", "median over steps of |Δ ln λ|, of moving averages"),
    "stepsize_error": Variable("error η", "the same of the step size"),
    "loss_error": Variable("error L", "the same of the loss"),
    **STATISTICS,
    **{
        f"single_{key}": Variable(f"one {of.symbol}", f"{of.meaning}, one prediction") for key, of in STATISTICS.items()
    },
    "sharpness_coverage": Variable("cover λ", "share of the steps with λ of the run in the ensemble's 90 % band"),
    "stepsize_coverage": Variable("cover η", "the same of the step size"),
    "loss_coverage": Variable("cover L", "the same of the loss"),
    "reach": Variable("reach", f"steps until the smoothed |Δ ln λ| first exceeds {LOST:g}; all judged steps if never"),
    "left_out": Variable("ε", "share of the gradient that the theory leaves out, mean; NaN of one that does not say"),
    "cost": Variable("cost", "seconds a step, in those of the tracked run"),
}
"""What a cell keeps of every theory of every run, beside its `status` and `steps`."""
