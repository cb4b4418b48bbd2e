"""Canonical names of everything recorded: symbol, unit and meaning, in one place for files, plots and tables."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One recorded quantity. `unit` is "1" for pure numbers; weights and losses are dimensionless here."""

    symbol: str
    meaning: str
    unit: str = "1"

    def attrs(self) -> dict[str, str]:
        """Attributes for a labelled array, by the names that plotting and CF conventions use."""
        return {"long_name": self.meaning, "symbol": self.symbol, "units": self.unit}


CENTER = (
    "the centre of a run is its iterate less one Newton step along each tracked mode, (u_i·∇L(w))/λ_i u_i, and "
    "off these the average (w₋ + 2w + w₊)/4 of three iterates; the centre of a theory is its own variable"
)

VARIABLES: dict[str, Variable] = {
    "step": Variable("t", "index of the update; a row holds what was true before it"),
    "mode": Variable("i", "rank of the eigenpair, 1 for the largest eigenvalue"),
    "kept_step": Variable("t", "steps whose weights are kept: after so many updates"),
    "tuner": Variable("tuner", "step-size rule, as a specification"),
    "seed": Variable("seed", "seed of the initial weights"),
    "theory": Variable("theory", "theory that made the prediction"),
    "batch": Variable("B", "samples in a batch"),
    "weights": Variable("w", "weights, flat, as an objective takes them; of a theory the modelled ones"),
    "loss": Variable("L", "full-batch loss at the iterate"),
    "accuracy": Variable("acc", "share of the training samples, or of their positions, that are classified correctly"),
    "test_loss": Variable("L_test", "mean loss of the held-out samples at the iterate, without weight decay"),
    "test_accuracy": Variable("acc_test", "share of the held-out samples, or of their positions, classified correctly"),
    "batch_loss": Variable("L_B", "loss of the step's batch at the iterate"),
    "batch_sharpness": Variable("g·H_B g/‖g‖²", "curvature of the batch's loss along the batch's gradient g"),
    "stepsize": Variable("η", "step size taken from this row"),
    "sharpness": Variable("λ", f"largest Hessian eigenvalue at the centre of the oscillation; {CENTER}"),
    "critical_sharpness": Variable(
        "λ_c",
        "critical sharpness 2/η_c, η_c the smallest step along the update that does not lower the loss of the step "
        "(arXiv 2601.16979)",
    ),
    "iterate_sharpness": Variable("λ(w)", "largest Hessian eigenvalue at the iterate, where a tuner needs it"),
    "sharpness_uncertainty": Variable(
        "u", "bound of |Δ ln λ| that a theory gives for itself, meant to hold at 90 % of the steps"
    ),
    "displacement": Variable("‖δ‖", "distance in weight space from the flow about which a prediction is expanded"),
    "cap": Variable("λ_cap", "cap on λ of the flow that a prediction is expanded about, infinite for gradient flow"),
    "center_loss": Variable("L̄", "loss at the centre of the oscillation"),
    "left_out": Variable(
        "ε",
        "share of the gradient that the centre–oscillation model leaves out: what ½(∇L(w̄ + x) − ∇L(w̄ − x)) − Hx has "
        "off the tracked modes, over ‖∇L(w̄ + x)‖, with w̄ the centre, x the oscillation and H the Hessian at w̄",
    ),
    "gradient_norm": Variable("‖g‖", "norm of the gradient at the iterate"),
    "alignment": Variable("|u·g|/‖g‖", "cosine between the gradient and the leading eigenvector last solved for"),
    "eigenvalues": Variable("λ_i", "leading Hessian eigenvalues at the centre"),
    "amplitude": Variable("x_i", "displacement of the iterate from the centre along each leading eigenvector"),
    "residual": Variable("‖Hu − λu‖/λ", "relative residual of the leading eigenpair"),
    "products": Variable("products", "Hessian–vector products taken for the eigenpairs of this row"),
    "converged": Variable("converged", "whether every tracked eigenpair met its tolerance"),
    "alpha": Variable("α", "rate of progressive sharpening, −∇L·∇λ at the centre off the tracked modes"),
    "beta": Variable("β", "strength of self-stabilisation, ‖∇λ‖² off the tracked modes"),
    "kappa": Variable("κ", "curvature along the bulk gradient relative to λ"),
    "bulk_gradient_sq": Variable("G", "squared gradient at the centre off the tracked modes"),
    "evaluations": Variable("evaluations", "loss evaluations that the tuner made"),
    "search_failed": Variable("failed", "whether the tuner could not meet its rule and took its documented fallback"),
    "ascending": Variable("d·g > 0", "whether the direction of the step was not a descent direction"),
    "growth": Variable("ln|z|", "growth of a mode of the tracked sharpness in this step, momentum included"),
    "edge": Variable("(ηλ)*", "edge of stability of ηλ under the run's direction, 2 for steepest descent"),
    "noise_loss": Variable("Var ℓ", "variance over samples of the loss"),
    "noise_along": Variable("σ_i²", "variance over samples of the gradient along each leading eigenvector"),
    "noise_curvature": Variable("Var uᵀ∇²ℓu", "variance over samples of the curvature along the first eigenvector"),
    "noise_bulk": Variable("tr Cov", "variance over samples of the gradient off the tracked modes"),
    "status": Variable("status", "how the run ended"),
    "steps": Variable("steps", "completed updates"),
    "seconds_per_step": Variable("s/step", "wall-clock seconds per update, compilation left out", "s"),
    "compile_seconds": Variable(
        "compile", "wall-clock seconds of compilation, about 0 where it was compiled before", "s"
    ),
}
"""Name in a dataset -> symbol, meaning and unit."""
