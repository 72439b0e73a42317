# %% [markdown]
# # The trap and the escape in ten minutes
#
# A strong model is fine-tuned on the labels of a weak teacher. This page shows in one small task why that alone is a
# trap, whatever the penalty and however many labels there are, and how *refinement* leaves it.
#
# Everything runs in seconds on a laptop. Each number comes with the formula that predicts it.
#
# ## A task
#
# The strong model knows $K = 4$ concepts, which are vectors in $d = 32$ dimensions. It weighs them by a prior.
# Alignment means to move all weight to one concept, the target. The teacher shows a vector that correlates 0.7 with the
# target and errs in a direction that no concept has.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import w2s_jax as w2s
from w2s_jax import theory

task = w2s.make_task(num_concepts=4, dim=32, weak_accuracy=0.7, concept_shift=0.5)
print("risk of the teacher:            ", round(float(w2s.excess_risk(task.weak_coef, task.target_coef)), 3))
print("risk of the strong model so far:", round(float(w2s.excess_risk(task.source_coef, task.target_coef)), 3))

# %% [markdown]
# *Excess risk* is the mean squared distance of a student's predictions from the target's. Both models are far from it,
# in different directions.
#
# ## The trap
#
# Naive fine-tuning is ridge regression on weak labels, pulled back to the original strong model. With infinitely many
# labels it moves on the straight line from the strong model to its teacher, and the penalty sets how far. The point of
# that line that is nearest to the target is the **floor**: no penalty goes lower.

# %%
penalties = jnp.logspace(-2, 2, 25)
line = jax.vmap(lambda penalty: theory.population_ridge_risk(task, penalty))(penalties)
print("best penalty of 25:", round(float(line.min()), 3))
print("the floor:         ", round(float(theory.population_ridge_floor(task)), 3))

# %% [markdown]
# More labels do not help. Here is the mean risk over 200 data sets, at the best of five penalties, beside the closed
# form.


# %%
def naive(key, num_samples, penalty):
    """Excess risk of naive fine-tuning on one data set."""
    data = w2s.sample_moments(key, task, num_samples, labeler="weak")
    return w2s.excess_risk(w2s.ridge_to_source(data, task.source_coef, penalty), task.target_coef)


keys = jax.random.split(jax.random.key(0), 200)
some = jnp.array([0.1, 0.3, 1.0, 3.0, 10.0])
sizes = (64, 256, 1024)
every = jax.jit(jax.vmap(jax.vmap(naive, (None, None, 0)), (0, None, None)), static_argnums=1)
predict = jax.jit(
    lambda n, penalty: theory.ridge_risk(task, n, penalty) + theory.ridge_risk_correction(task, n, penalty)
)
simulated = {}
for n in sizes:
    risks = every(keys, n, some).mean(0)
    simulated[n], best = float(risks.min()), some[risks.argmin()]
    print(f"n = {n:5d}: simulated {simulated[n]:.3f}, predicted {float(predict(n, best)):.3f}")

# %% [markdown]
# ## The escape
#
# The strong model can do more than imitate. It reads a few weak examples as a *prompt* and infers which of its own
# concepts they come from. The teacher's error belongs to no concept, so it matters little here. Then the model writes
# new labels from the inferred concept, and is fine-tuned on these. `w2s.refine` does all of that in one call.

# %%
refined = w2s.refine(jax.random.key(1), task, num_samples=1024, num_icl=16, prompts="fresh")
print("risk of the refined student:", round(float(w2s.excess_risk(refined.coef, task.target_coef)), 3))
print("mean weight of each concept:", refined.weights.mean(0).round(3))

# %% [markdown]
# With a longer prompt the weight of wrong concepts falls exponentially. Theory gives the whole curve.


# %%
def refined_risk(key, num_icl):
    """Excess risk of a student refined with fresh prompts, on one data set of 1,024 examples."""
    return w2s.excess_risk(w2s.refine(key, task, 1024, num_icl, prompts="fresh").coef, task.target_coef)


@jax.jit
def theory_of_refinement(num_icl):
    """The same from closed forms: the misalignment of the posterior, and the noise of 1,024 labels."""
    misalignment = theory.misalignment(task, num_icl, "fresh")
    return theory.refined_risk(task, 1024, misalignment, theory.refined_label_spread(task, num_icl, "fresh"))


lengths = (0, 2, 4, 8, 16)
refined_risks = jax.jit(jax.vmap(refined_risk, (0, None)), static_argnums=1)
escape = [float(refined_risks(keys[:20], m).mean()) for m in lengths]
predicted = [theory_of_refinement(m) for m in lengths]

# %% alt="Two panels of excess risk: against the number of weak labels, and against the examples in a prompt"
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), sharey=True, layout="constrained")
floor = float(theory.population_ridge_floor(task))
left.plot(sizes, [simulated[n] for n in sizes], "o-", color="tab:orange", label="naive fine-tuning")
left.axhline(floor, color="gray", linestyle="--", label="its floor")
left.set(xscale="log", yscale="log", xlabel="weak labels n", ylabel="excess risk")
right.plot(lengths, escape, "s", color="tab:blue", label="refinement")
right.plot(lengths, predicted, color="tab:blue", linewidth=0.8, label="its theory")
right.axhline(floor, color="gray", linestyle="--", label="floor of naive fine-tuning")
right.set(xlabel="examples in a prompt")
for axes in (left, right):
    axes.legend(frameon=False)
plt.show()

# %% [markdown]
# *Left: more weak labels take naive fine-tuning to its floor and no further. Right: with 1,024 labels, longer prompts
# take refinement far below it (squares: means over 20 data sets; line: closed form).*
#
# ## A slope
#
# Everything is plain JAX, so that the risk has a derivative in anything that is traced. How much is a slightly better
# teacher worth, to either student?

# %%


def mean_risk(weak_accuracy, student):
    """Mean risk over 20 data sets, as a function of the teacher's accuracy."""
    changed = w2s.make_task(num_concepts=4, dim=32, weak_accuracy=weak_accuracy, concept_shift=0.5)

    def once(key):
        found = w2s.refine(key, changed, 256, 16, draw="mean")
        coef = found.coef
        if student == "naive":
            coef = w2s.ridge_to_source(w2s.moments(found.examples), changed.source_coef, 1.0)
        return w2s.excess_risk(coef, changed.target_coef)

    return jax.vmap(once)(keys[:20]).mean()


slope_of = jax.jit(jax.grad(mean_risk), static_argnums=1)
for student in ("naive", "refined"):
    slopes = [slope_of(a, student) for a in (0.5, 0.7, 0.9)]
    print(f"{student:8s} slope at accuracy 0.5, 0.7, 0.9:", [round(float(slope), 3) for slope in slopes])

# %% [markdown]
# ## What to remember
#
# - Naive fine-tuning stays between its teacher and its start; the floor depends on these two, not on the data.
# - Refinement asks which concept the teacher means, and its error falls with the length of the prompt.
# - This holds where the teacher's error does not point to a rival concept. A teacher whose error does (`confused`) must
#   be accurate enough: [theory 3.6](../theory.md#36-the-concept-posterior-of-a-weak-prompt) says how accurate.
#
# Next: [your own teacher and estimator](own_teacher.md), or [what your own numbers predict](../planning.md).
