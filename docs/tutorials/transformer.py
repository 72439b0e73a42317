# %% [markdown]
# # A transformer as refiner
#
# In theory the strong model is an exact Bayesian that weighs concepts by a posterior. Does a trained network do the
# same? This page trains a tiny transformer for less than a minute, asks it what it infers from weak examples, and lets
# it refine labels. `python -m sims.incontext` is the same at full size: [transformers that refine](../transformers.md).
#
# ## Train it
#
# The network reads a sequence of examples, all of one concept, and predicts each label from those before it, as a
# distribution on bins. No symbol says which concept it is.

# %%
import jax
from flax import nnx

import w2s_jax as w2s
from w2s_jax import incontext, incontext_measures
from w2s_jax.predictive import law_mean, make_bins
from w2s_jax.training import TrainingConfig, init_state, make_optimizer, train
from w2s_jax.transformer import TransformerConfig

task = w2s.make_task(num_concepts=2, dim=4, weak_accuracy=0.7, concept_shift=0.5, noise_var=0.25)
bins = make_bins(5.0, 40)
length, steps = 9, 600
config = TransformerConfig(num_layers=2, width=32, num_heads=2, max_length=length)
network = incontext.ConceptRegressor(config, dim=4, num_bins=40, rngs=nnx.Rngs(0))
graph, params = nnx.split(network)
optimizer = make_optimizer(TrainingConfig(num_steps=steps, learning_rate=3e-3, optimizer="muon"))


def loss(params, key):
    """Nats per label, on new sequences in every step."""
    return incontext.loss(key, nnx.merge(graph, params), task, bins, 64, length)


run = jax.jit(lambda key, state: train(key, state, loss, optimizer, steps))
state, metrics = run(jax.random.key(0), init_state(params, optimizer))
network = nnx.merge(graph, state.params)
print("loss at first and at last:", metrics.loss[:20].mean().round(2), metrics.loss[-20:].mean().round(2))

# %% [markdown]
# ## Compare it with exact Bayes
#
# `BayesPredictor` answers as theory assumes, with the same signature. The distance between the two is a
# Kullback-Leibler divergence in nats, for each number of examples in the context.

# %%
bayes = incontext.BayesPredictor(task, bins)
keys = jax.random.split(jax.random.key(1), 256)
sequences = jax.vmap(lambda key: incontext.sample_sequence(key, task, length))(keys)
apart = jax.jit(lambda s: incontext_measures.kl_to_bayes(network, bayes, s).mean(0))(sequences)
print("nats from Bayes after 0, 1, 2, ... examples:", apart.round(2))

# %% [markdown]
# ## Show it weak examples
#
# The prompt now comes from the weak teacher, which the network has never seen. Which weights on the concepts do its
# answers imply?

# %%
queries = w2s.sample_features(jax.random.key(2), 64, 4)


def weight_of_target(predictor, key):
    """Weight on the target after a weak prompt, as the predictor's answers imply it."""
    prompt = w2s.sample_dataset(key, task, length - 1, labeler="weak")
    return incontext_measures.concept_weights(predictor, bins, task, prompt, queries)[0]


for name, predictor in (("network", network), ("Bayes", bayes)):
    weights = jax.jit(jax.vmap(lambda key, p=predictor: weight_of_target(p, key)))(keys[:32])
    print(f"{name:8s} mean weight on the target: {float(weights.mean()):.2f}")

# %% [markdown]
# ## Refine with it
#
# A student of the same linear kind as before learns from the network's answers in place of the teacher's labels. Every
# example has a fresh prompt of weak examples before it.


# %%
def answer(key, features):
    """The network's expected label after a fresh weak prompt."""
    prompt = w2s.sample_dataset(key, task, length - 1, labeler="weak")
    return law_mean(network.query(prompt, features[None]), bins)[0]


examples = w2s.sample_dataset(jax.random.key(3), task, 400, labeler="weak")
labels = jax.jit(jax.vmap(answer))(jax.random.split(jax.random.key(4), 400), examples.features)
refined = w2s.least_squares(w2s.moments(examples._replace(labels=labels)), task.source_coef)
naive = w2s.ridge_to_source(w2s.moments(examples), task.source_coef, 0.5)
for name, coef in (("naive", naive), ("refined", refined)):
    print(f"{name:8s} excess risk {float(w2s.excess_risk(coef, task.target_coef)):.3f}")

# %% [markdown]
# ## What this does not show
#
# A network this small, trained this briefly, is only roughly Bayesian, and one run has no interval. The [full
# experiment](../transformers.md) measures where trained networks agree with the theory and where they do not. Next:
# [your own language model](language_model.md).
