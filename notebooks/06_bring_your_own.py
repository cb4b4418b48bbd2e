# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. Theory against experiment: bring your own network, tuner and data
#
# eosmodel has three central concepts. An **objective** is a loss of one flat array of weights $w$. A **tuner** is a
# rule that looks at the loss along the line of the next step and returns a step size $\eta$. A **theory** predicts from the
# two what `eos.simulate` will measure: the step size, the sharpness $\lambda$ (largest eigenvalue of the Hessian) and
# the loss. This notebook adds an objective and a tuner that eosmodel does not have, and tests the theories on them. It can
# be read first; what the edge of stability is, notebook 1 explains in ten minutes.

# %%
import os
import tempfile
from pathlib import Path

import eosmodel as eos
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import xarray as xr
from eosmodel.tuners import AbstractTuner, TunerInfo

quick = bool(os.environ.get("EOSMODEL_QUICK"))  # the project's tests run a small version of this notebook
steps = 40 if quick else 800

# %% [markdown]
# ## Your own data
#
# Two arrays: inputs `x`, one row a sample, and targets `y`. Integers are class labels, floats are a regression. Ours is a
# regression: the height of a wave over a square. Inputs are standardised, targets left as they are.

# %%
random = np.random.default_rng(0)
place = random.uniform(-1, 1, (120, 2))
height = np.sin(3 * place[:, 0]) * np.cos(2 * place[:, 1])
wave = eos.data.from_arrays(place, height, name="wave")

figure, ax = plt.subplots(figsize=(4.2, 3.2), layout="constrained")
dots = ax.scatter(*place.T, c=height, cmap="cividis", s=25)
figure.colorbar(dots, label="target y")
ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
plt.show()

# %% [markdown]
# **What we see.** All the data: 120 points, each with a value to be learned.
#
# The command line takes the same arrays from an `.npz` file with the keys `x` and `y`:

# %%
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "wave.npz"
    np.savez(file, x=place, y=height)
    assert np.array_equal(eos.data.load(file).x, wave.x)

# %% [markdown]
# ```sh
# eosmodel compare --data wave.npz --net mlp --width 16 --tuners constant:0.5 armijo --steps 800 --out runs/wave
# ```
#
# ## Your own network: equinox
#
# Any equinox module that maps one sample to one output is an objective in one line. Its weights are its floating-point
# arrays; `loss="mse"` is half the mean squared error, `"ce"` the cross-entropy.

# %%
model = eqx.nn.MLP(2, 1, width_size=16, depth=2, activation=jnp.tanh, key=jax.random.key(0))
net = eos.objectives.network(model, wave, loss="mse")
print(f"{net.initial().size} weights, loss at the start {float(net(net.initial())):.3f}")

# %% [markdown]
# ## Your own network: flax
#
# A model of `flax.nnx` goes in as it is. (Flax is needed for this cell and the next only: `pip install flax`.)

# %%
from flax import linen, nnx


class Wavy(nnx.Module):
    def __init__(self, rngs):
        self.inner = nnx.List([nnx.Linear(2, 16, rngs=rngs), nnx.Linear(16, 16, rngs=rngs)])
        self.outer = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x):
        for layer in self.inner:
            x = jnp.sin(layer(x))
        return self.outer(x)


other = eos.objectives.network(Wavy(nnx.Rngs(0)), wave, loss="mse")
print(f"{other.initial().size} weights, loss at the start {float(other(other.initial())):.3f}")

# %% [markdown]
# ## Anything else
#
# `eos.objective(f, w0)` takes any JAX function of an array, or of a tree of arrays such as the parameters of `flax.linen`,
# and where it starts.

# %%
line = linen.Dense(1)
flat = eos.objective(lambda p: 0.5 * jnp.mean((line.apply(p, net.x) - net.y) ** 2), line.init(jax.random.key(0), net.x))
print(f"a straight line: {flat.initial().size} weights, loss at the start {float(flat(flat.initial())):.3f}")

# %%
eta = 0.5
pair = {
    name: eos.simulate(objective, eos.tuners.Constant(eta), steps=steps, measure_every=0, progress=False)
    for name, objective in {"equinox, tanh": net, "flax.nnx, sine": other}.items()
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for (name, run), color, style in zip(pair.items(), ("#0072B2", "#D55E00"), ("-", "--"), strict=True):
    left.plot(run.step, run.sharpness, color=color, linestyle=style, label=name)
    right.semilogy(run.step, run.loss, color=color, linestyle=style, label=name)
left.axhline(2 / eta, color="black", linestyle="--", linewidth=1)
left.set(xlabel="step t", ylabel="sharpness λ", title="horizontal line: 2/η")
right.set(xlabel="step t", ylabel="loss L")
right.legend(frameon=False)
plt.show()

# %% [markdown]
# **What we see.** Two networks that are not part of eosmodel, with the same behaviour: the sharpness rises to the edge of
# stability $2/\eta$ and stays near it. (Notebook 1 explains why.)

# %% [markdown]
# ## Your own tuner
#
# A tuner is a Python class with one method. It receives a **ray**, the loss along the line $w + \eta d$ of the next step, and its
# own memory. It returns the step size, the new memory, and what to record (how many extra losses it evaluated, and whether
# it failed). A ray has
#
# - `ray.value`, the loss at $\eta = 0$, and `ray.slope`, its derivative there, $-\|g\|^2$ for a step down the gradient $g$,
# - `ray.evaluate(η)` and `ray.curvature()`, the loss further along and the second derivative, computed only when called,
# - `ray.step`, the number of the step.
#
# Our rule is an old one, known as *bold driver*: increase the step by 2 % after every step that decreased the loss, and
# halve it after one that did not.


# %%
class BoldDriver(AbstractTuner):
    first: float = 0.1
    bolder: float = 1.02

    def init(self, dtype=None):  # the memory: the next step size, and the last loss
        return jnp.asarray(self.first, dtype), jnp.asarray(jnp.inf, dtype)

    def __call__(self, ray, state):
        eta, last = state
        eta = eta * jnp.where(ray.value > last, 0.5, self.bolder)
        return eta, (eta, ray.value), TunerInfo(jnp.asarray(0), jnp.asarray(False))


# %% [markdown]
# Schedules are tuners too. `eos.tuners.Schedule` takes any optax schedule, a function of the step number:

# %%
warmup = eos.tuners.Schedule(optax.warmup_cosine_decay_schedule(0.01, 0.8, steps // 8, steps, 0.05))

tuners = {"bold driver": BoldDriver(), "schedule": warmup, "armijo": eos.tuners.Armijo(), "polyak": eos.tuners.Polyak()}
if quick:
    tuners = {"bold driver": tuners["bold driver"]}
runs = [eos.simulate(net, tuner, steps=steps, measure_every=0, progress=False) for tuner in tuners.values()]
runs = xr.concat(runs, xr.Variable("tuner", list(tuners)))
eos.plotting.summary(runs)

# %% [markdown]
# **What we see.** (Averages over 25 steps.) The bold driver finds the edge although it does not know of it: its step
# grows until a step beyond the edge raises the loss, and is then halved. The schedule crosses the edge from below, lowers the
# sharpness to its own $2/\eta$, and when $\eta$ decreases again the sharpness can rise. Armijo's rule and Polyak's are built
# in.

# %% [markdown]
# ## The same rules in your own training loop
#
# `eos.tuners.as_optax(tuner)` turns a tuner into an ordinary optax transformation, for use in any training loop. The loop
# must pass what the rule needs: the bold driver the loss, `value`; a line search also the function,
# `value_fn`. Here is a plain equinox loop.

# %%
optimizer = optax.chain(optax.sgd(1.0), eos.tuners.as_optax(BoldDriver()))
mine, state, taken = model, optimizer.init(eqx.filter(model, eqx.is_inexact_array)), []


@eqx.filter_value_and_grad
def loss(model):
    return 0.5 * jnp.mean(jnp.sum((jax.vmap(model)(net.x) - net.y) ** 2, axis=1))


@eqx.filter_jit
def train_step(model, state):
    value, gradient = loss(model)
    weights = eqx.filter(model, eqx.is_inexact_array)
    updates, state = optimizer.update(gradient, state, weights, value=value)
    return eqx.apply_updates(model, updates), state


for _ in range(min(steps, 100)):
    mine, state = train_step(mine, state)
    taken.append(float(optax.tree_utils.tree_get(state, "learning_rate")))
difference = np.abs(np.array(taken) / runs.stepsize.sel(tuner="bold driver").values[: len(taken)] - 1).max()
print(f"{len(taken)} steps; largest relative difference from the step sizes of eos.simulate: {difference:.1e}")

# %% [markdown]
# ## What the theories predict
#
# We run four of them. None is fitted to a run or sees one.
#
# | theory | its variables |
# | --- | --- |
# | `oscillation` | the middle of the oscillation, and its size along the leading eigenvectors, stepped together |
# | `central-flow` | the middle alone; the size of the oscillation follows from a balance |
# | `edge-only` | the edge alone: gradient flow with $\eta = 2/\lambda$, whatever the tuner does |
# | `gradient-flow` | gradient flow at the pace of the tuner, without an oscillation |
#
# Each of the last two leaves out one half of "step size and sharpness evolve together".

# %%
names = ["oscillation"] if quick else ["oscillation", "central-flow", "edge-only", "gradient-flow"]
said = [
    xr.concat(
        [eos.predict(net, tuner, steps=steps, theory=name, progress=False) for tuner in tuners.values()],
        xr.Variable("tuner", list(tuners)),
    )
    for name in names
]
theories = xr.concat(said, xr.Variable("theory", names))
comparison = eos.compare(runs, theories)
print(comparison)

# %% [markdown]
# The columns at the right are errors: medians over the steps of $|\ln(\text{run}/\text{theory})|$ after averaging both over
# 25 steps, so 0.01 is one per cent. `Λ` is the mean of $\ln|1-\eta\lambda|$ over the last half, which is 0
# where an oscillation neither grows nor shrinks. `eos.plotting.errors` shows the same as a map, and `.plot()` the
# runs and theories themselves.

# %%
eos.plotting.errors(comparison.rows())

# %%
comparison.plot()

# %% [markdown]
# **What we see.** Dark lines are runs, coloured ones theories, a cross marks a theory that left its range.
# The maps show which theory is sufficient where.

# %%
for row in comparison.rows():
    by_error = sorted(row["theories"], key=lambda name: row["theories"][name]["sharpness_error"] or np.inf)
    shown = [f"{name} {row['theories'][name]['sharpness_error'] or np.nan:.3f}" for name in by_error]
    print(f"{row['tuner']:12} error of λ: {', '.join(shown)}")

# %% [markdown]
# ## A chaotic tuner: predict a band, not a line
#
# Polyak's rule takes a step of size $\eta = L/\|g\|^2$, and its step sizes are chaotic: two runs from almost equal weights soon
# have different step sizes. No theory can predict the step size at step 500 of such a run. It can predict the distribution of
# the steps. `members=` makes an ensemble of predictions, from weights that are perturbed by a relative $10^{-4}$.

# %%
members = 3 if quick else 19
band = eos.predict(net, eos.tuners.Polyak(), steps=steps, members=members, progress=False)
chaotic = eos.simulate(net, eos.tuners.Polyak(), steps=steps, measure_every=0, progress=False)
apart = np.log(band.sharpness.max("member") / band.sharpness.min("member"))
print(
    f"λ of the members differs by {float(apart[0]):.1e} at the start, {float(apart[-25:].mean()):.2f} at the end (ln)"
)
eos.plotting.ensemble(chaotic, band)

# %% [markdown]
# **What we see.** A further member would be inside the band with probability 0.9 at each step; the titles say how often the
# run was inside. A run outside the band is an error of the theory, not of the initial weights. The members alone are a cheap
# test of any tuner: if they separate, compare statistics and not steps.

# %% [markdown]
# ## Where the theory fails
#
# The oscillation model neglects one term: the nonlinear part of the force on all other directions that changes its sign with
# the oscillation. Its size relative to the gradient is a variable of the predictions, `left_out`. It is large for
#
# - *large oscillations*, of constant steps far above $2/\lambda$ at the start or of rules that jump: start the theory after
#   the first jumps, `theory="oscillation:after=20"`;
# - *kinks*: a ReLU network has no third derivative, and its sharpness jumps.
#
# The second is easy to try: the same network with ReLU.

# %%
kinked = eos.objectives.network(eqx.nn.MLP(2, 1, 16, 2, jax.nn.relu, key=jax.random.key(0)), wave)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for ax, (name, objective) in zip(axes, {"tanh": net, "ReLU": kinked}.items(), strict=True):
    tuner = eos.tuners.Constant(eta)
    run = pair["equinox, tanh"]
    if objective is kinked:
        run = eos.simulate(kinked, tuner, steps=steps, measure_every=0, progress=False)
    theory = eos.predict(objective, tuner, steps=steps, progress=False)
    errors = eos.compare(run, theory).rows()[0]["theories"]["oscillation"]
    print(f"{name:4} error of λ {errors['sharpness_error']:.3f}, of L {errors['loss_error']:.3f}, {errors['status']}")
    ax.plot(run.step, run.sharpness, color="#b8b8b8", linewidth=2, label="run")
    ax.plot(theory.step, theory.sharpness, color="#0072B2", linewidth=0.8, label="oscillation model")
    ax.axhline(2 / eta, color="black", linestyle="--", linewidth=1)
    ax.set(xlabel="step t", ylabel="sharpness λ", title=name)
axes[0].legend(frameon=False)
plt.show()

# %% [markdown]
# **What we see.** The printed numbers are the errors of each. Kinks are not always worse: they matter where an oscillation
# crosses many of them. Neither effect is easy to foresee, which is why `compare` prints errors and not verdicts. Look at the
# table before you trust a curve.

# %% [markdown]
# ## Where to go from here
#
# - Notebook 2: how your rule will behave at the edge, read off one curve. `eos.analysis.response_curve({"mine": BoldDriver()})`.
# - Notebook 3 draws phase diagrams for it, notebook 7 runs it on mini-batches.
# - `help(eos.ray)`, `help(eos.tuners.as_optax)`, `help(eos.predict)` for all the details.
