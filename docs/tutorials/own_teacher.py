# %% [markdown]
# # Your own teacher and estimator
#
# A teacher is a vector of coefficients, an estimator a function from data to coefficients. This page puts one of each
# into the simulator, compares the estimator with naive fine-tuning and refinement on the same data, and checks it
# against a closed form.
#
# ## A teacher and a target
#
# Give `make_task` the coefficients of your teacher (`weak_coef`) and, if the target is not a single concept, the
# weights of the concepts in it (`target_prior`).

# %%
import jax
import jax.numpy as jnp

import w2s_jax as w2s
from w2s_jax import statistics, theory

teacher = jnp.array([0.8, 0.2, 0.1, 0.0, 0.5, 0.3, 0.0, 0.0])
task = w2s.make_task(num_concepts=3, dim=8, weak_coef=teacher, concept_shift=0.5)
print("risk of the teacher:", round(float(w2s.excess_risk(task.weak_coef, task.target_coef)), 3))
print("risk of the source: ", round(float(w2s.excess_risk(task.source_coef, task.target_coef)), 3))

# %% [markdown]
# ## An estimator
#
# Ours is given the list of concepts, and fits their span alone: least squares in $K$ coordinates in place of $d$. It
# reads the moments of a data set, like every estimator of the package: `gram` is $\Phi'\Phi/n$ and `cross` is
# $\Phi'y/n$. There is no class to inherit from and nothing to register.


# %%
def span_least_squares(moments, concepts):
    """Coefficients of least squares over the span of the concepts."""
    gram = concepts @ moments.gram @ concepts.T
    return concepts.T @ jnp.linalg.solve(gram, concepts @ moments.cross)


data = w2s.sample_moments(jax.random.key(0), task, 200, labeler="weak")
print(span_least_squares(data, task.concepts).round(2))

# %% [markdown]
# ## A fair comparison
#
# All three students see the same weak examples in each of 500 replicates, so that differences are paired: their
# standard errors are smaller than those of the risks.


# %%
def replicate(key):
    """Excess risks of three students that see the same weak examples."""
    refined = w2s.refine(key, task, 200, 16, prompts="fresh")
    data = w2s.moments(refined.examples)
    students = {
        "naive fine-tuning": w2s.ridge_to_source(data, task.source_coef, 0.5),
        "refinement": refined.coef,
        "span": span_least_squares(data, task.concepts),
    }
    return {name: w2s.excess_risk(coef, task.target_coef) for name, coef in students.items()}


risks = jax.jit(jax.vmap(replicate))(jax.random.split(jax.random.key(1), 500))
for name, values in risks.items():
    found = statistics.summarize(values[:, None])
    print(f"{name:18s} {float(found.mean[0]):.4f} +- {float(statistics.sem(found)[0]):.4f}")
gap = statistics.summarize((risks["naive fine-tuning"] - risks["span"])[:, None])
print(f"naive less span    {float(gap.mean[0]):.4f} +- {float(statistics.sem(gap)[0]):.4f}")

# %% [markdown]
# ## Is it right?
#
# This estimator has a closed form ([theory 3.8](../theory.md#38-misfit)), exact at every $n$. A simulation that is more
# than a few standard errors away from its theory has a bug, or the theory does.

# %%
found = statistics.summarize(risks["span"][:, None])
z = (found.mean[0] - theory.span_risk(task, 200)) / statistics.sem(found)[0]
print("theory:", round(float(theory.span_risk(task, 200)), 4), " z =", round(float(z), 2))

# %% [markdown]
# ## Its derivative
#
# The estimator is differentiable, because it is JAX. Which coordinate of the teacher should be improved first? The
# gradient of the mean risk in the teacher's coefficients says so: negative where a larger coefficient would help.


# %%
def mean_risk(weak_coef, keys):
    """Mean risk of the span student of any teacher."""
    changed = w2s.make_task(num_concepts=3, dim=8, weak_coef=weak_coef, concept_shift=0.5)

    def once(key):
        data = w2s.moments(w2s.sample_dataset(key, changed, 200))
        return w2s.excess_risk(span_least_squares(data, changed.concepts), changed.target_coef)

    return jax.vmap(once)(keys).mean()


print(jax.jit(jax.grad(mean_risk))(teacher, jax.random.split(jax.random.key(2), 200)).round(3))

# %% [markdown]
# Coordinates 4 to 8 lie outside of the span: the student does not read them, and they cost only noise.
#
# ## Where next
#
# - A method for the [arena](../methods.md), where all methods are compared on the same draws, is one such function with
#   a list of what it may see.
# - [Sweep, store, figure](sweep_store_figure.md) runs whole grids.
# - [All kernels](../reference/kernels.md), with what each takes and returns.
