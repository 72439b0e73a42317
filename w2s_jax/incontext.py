"""In-context learners of concepts: sequences of one concept, the exact Bayes predictor, and a transformer.

A predictor answers each example of a sequence with a distribution of its label on bins, given those before it:

    predictor(features [m d], labels [m]) -> log masses [m B]       context lengths 0, 1, ..., m - 1
    predictor.query(prompt, features [n d]) -> log masses [n B]     the same prompt before each of n queries
    predictor.query_path(prompt, lengths, features)                 its first examples, for each of several lengths

Network and theory share the signature, so that any measure of one serves the other; `jit` and `vmap` are the caller's.
Import it as `from w2s_jax import incontext`: the package itself imports no flax.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from w2s_jax.predictive import Bins, bin_index, mixture_law
from w2s_jax.refinement import posterior_path
from w2s_jax.rng import stream
from w2s_jax.sampling import Labeler, sample_dataset
from w2s_jax.transformer import Decoder, TransformerConfig, init_cache
from w2s_jax.types import Dataset, Key, Task


@runtime_checkable
class Predictor(Protocol):
    """Predicts labels from a context: `BayesPredictor`, `ConceptRegressor`, or anything with their signature."""

    def __call__(self, features: Float[Array, "m d"], labels: Float[Array, "m"]) -> Float[Array, "m B"]:
        """Log masses of each label, given the examples before it and its own features."""
        ...

    def query(self, prompt: Dataset, features: Float[Array, "n d"]) -> Float[Array, "n B"]:
        """Log masses of each query's label, given the whole prompt."""
        ...

    def query_path(
        self, prompt: Dataset, lengths: tuple[int, ...], features: Float[Array, "n d"]
    ) -> Float[Array, "l n B"]:
        """The same after the first examples of the prompt, for each of `lengths`."""
        ...


def sample_sequence(key: Key, task: Task, length: int, labeler: Labeler = "source") -> Dataset:
    """Examples of one concept, which is drawn once for the whole sequence.

        k ~ prior,    y_i = beta_k . x_i + sqrt(noise_var) eps_i,    x_i ~ N(0, feature_var),    i = 1, ..., m

    Args:
        key: a typed key; "sequence" is the concept's stream, the others are those of `sample_dataset`.
        task: a `Task`. For a prior that the strong model has not seen, replace the prior here and not in its predictor.
        length: m >= 1, static.
        labeler: `source`, what a strong model is pre-trained on; `weak`, the weak teacher's concepts, prior and noise;
            `target`.

    Returns:
        `Dataset(features [m d], labels [m])`.

    Raises:
        ValueError: for an unknown labeler, or length < 1.

    Reference: Somerstep et al. (arXiv 2405.16236); docs/transformers.md.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.5, noise_var=0.0)
    >>> sequence = jax.jit(sample_sequence, static_argnums=2)(jax.random.key(0), task, 8)
    >>> sum(bool(jnp.allclose(sequence.features @ concept, sequence.labels)) for concept in task.concepts)
    1
    """
    prior = task.weak_prior if labeler == "weak" else task.target_prior if labeler == "target" else task.source_prior
    concept = jax.random.categorical(stream(key, "sequence"), jnp.log(prior))
    alone = jax.nn.one_hot(concept, prior.shape[0], dtype=prior.dtype)
    shown = task._replace(source_prior=alone, target_prior=alone, weak_prior=alone)
    return sample_dataset(key, shown, length, labeler)


class BayesPredictor(NamedTuple):
    """Exact Bayesian inference over the concepts: what the theory takes the strong model to do.

        y_i | x_1, y_1, ..., x_i  ~  sum_k w_k N(beta_k . x_i, noise_var)

    with w the concept posterior after the first i - 1 examples.

    Reference: Somerstep et al. (arXiv 2405.16236); docs/theory.md 2.

    >>> from w2s_jax.predictive import law_mean, make_bins
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> bayes = BayesPredictor(task, make_bins(5.0, 200))
    >>> laws = jax.jit(bayes.__call__)(jnp.eye(3), jnp.zeros(3))
    >>> law_mean(laws, bayes.bins)[0].round(2).tolist()  # no context: the source's mean
    0.75
    """

    task: Task
    """Concepts `[K d]`, source prior `[K]` and noise_var > 0 are read."""
    bins: Bins
    """Bins of the predicted distributions."""

    def __call__(self, features: Float[Array, "m d"], labels: Float[Array, "m"]) -> Float[Array, "m B"]:
        """Log masses of each label, given the examples before it and its own features."""
        path = posterior_path(self.task, Dataset(features, labels))
        return mixture_law(features @ self.task.concepts.T, path[:-1], self.task.noise_var, self.bins)

    def query(self, prompt: Dataset, features: Float[Array, "n d"]) -> Float[Array, "n B"]:
        """Log masses of each query's label, given the whole prompt of m >= 0 examples."""
        return self.query_path(prompt, (prompt.labels.shape[0],), features)[0]

    def query_path(
        self, prompt: Dataset, lengths: tuple[int, ...], features: Float[Array, "n d"]
    ) -> Float[Array, "l n B"]:
        """The same after the first examples of the prompt, for each of `lengths`."""
        _check_lengths(lengths, prompt)
        means = features @ self.task.concepts.T
        path = posterior_path(self.task, prompt, lengths=lengths)

        def law(log_posterior: Float[Array, "K"]) -> Float[Array, "n B"]:
            weights = jnp.broadcast_to(log_posterior[None, :], means.shape)
            return mixture_law(means, weights, self.task.noise_var, self.bins)

        return jax.vmap(law)(path)


class ConceptRegressor(nnx.Module):
    """A transformer that learns concepts from its context, and answers with distributions of labels.

    Place i of a sequence x_1, y_1, x_2, y_2, ... holds x_i and the example (x_{i-1}, y_{i-1}) before it, each embedded
    linearly and added; there the distribution of y_i is read out. It sees the examples before it and its own features
    alone, and the last label never. One place an example, in place of one a symbol, halves the cost and leaves no pairs
    to be put together again. A context of m examples and a query take m + 1 places.

    Args:
        config: of the decoder; max_length >= m + 1 for prompts of m examples.
        dim: d >= 1.
        num_bins: B >= 2.
        rngs: parameters are drawn from its stream `params`.

    Raises:
        ValueError: for dim < 1 or num_bins < 2; when called, for a context longer than max_length allows.

    Reference: docs/transformers.md; Garg et al. (arXiv 2208.01066) for regression in context.

    >>> config = TransformerConfig(num_layers=1, width=16, num_heads=2, max_length=5)
    >>> regressor = ConceptRegressor(config, dim=3, num_bins=10, rngs=nnx.Rngs(0))
    >>> prompt = Dataset(jnp.ones((4, 3)), jnp.ones(4))
    >>> jax.jit(regressor.__call__)(*prompt).shape, jax.jit(regressor.query)(prompt, jnp.ones((7, 3))).shape
    ((4, 10), (7, 10))
    """

    def __init__(self, config: TransformerConfig, dim: int, num_bins: int, *, rngs: nnx.Rngs):
        if dim < 1 or num_bins < 2:
            raise ValueError(f"dim must be at least 1 and num_bins at least 2, got {dim} and {num_bins}.")
        types = {"dtype": jnp.dtype(config.dtype), "param_dtype": config.param_dtype, "rngs": rngs}
        self.config = config
        self.embed_query = nnx.Linear(dim, config.width, **types)
        self.embed_pair = nnx.Linear(dim + 1, config.width, **types)
        self.decoder = Decoder(config, rngs=rngs)
        self.head = nnx.Linear(config.width, num_bins, **types)

    def __call__(self, features: Float[Array, "m d"], labels: Float[Array, "m"]) -> Float[Array, "m B"]:
        """Log masses of each label, given the examples before it and its own features; m places."""
        self._check(labels.shape[0], f"a sequence of {labels.shape[0]} examples")
        return self._read(self.decoder(self.embed_query(features) + self._pairs(features, labels)[:-1]))

    def query(self, prompt: Dataset, features: Float[Array, "n d"]) -> Float[Array, "n B"]:
        """Log masses of each query's label, given the whole prompt of m >= 0 examples."""
        return self.query_path(prompt, (prompt.labels.shape[0],), features)[0]

    def query_path(
        self, prompt: Dataset, lengths: tuple[int, ...], features: Float[Array, "n d"]
    ) -> Float[Array, "l n B"]:
        """The same after the first examples of the prompt, for each of `lengths`; it is encoded once for all."""
        _check_lengths(lengths, prompt)
        longest = max(lengths)
        self._check(longest + 1, f"a prompt of {longest} examples and a query")
        queries, cache = self.embed_query(features), init_cache(self.config)
        pairs = self._pairs(prompt.features[:longest], prompt.labels[:longest])
        if longest > 0:
            _, cache = self.decoder(self.embed_query(prompt.features[:longest]) + pairs[:-1], cache)

        def after(length: Int[Array, ""]) -> Float[Array, "n B"]:
            shorter = cache._replace(length=length)  # what lies beyond is not read
            tokens = queries + pairs[length][None, :]
            hidden, _ = jax.vmap(lambda token: self.decoder(token[None], shorter))(tokens)
            return self._read(hidden[:, 0])

        return jax.lax.map(after, jnp.array(lengths, jnp.int32))

    def _pairs(self, features, labels) -> Float[Array, "places width"]:
        """Embedding of the example before each place; zero at the first place."""
        pairs = self.embed_pair(jnp.concatenate([features, labels[:, None]], axis=1))
        return jnp.concatenate([jnp.zeros_like(pairs, shape=(1, pairs.shape[1])), pairs])

    def _read(self, hidden) -> Float[Array, "n B"]:
        # In the default type, float32 or wider, for any type of the blocks: masses then sum to 1.
        return jax.nn.log_softmax(self.head(hidden).astype(float))

    def _check(self, places: int, what: str) -> None:
        if places > self.config.max_length:
            raise ValueError(
                f"{what} takes {places} places, and max_length allows {self.config.max_length}; "
                f"shorten the context or raise max_length."
            )


def _check_lengths(lengths: tuple[int, ...], prompt: Dataset) -> None:
    num_icl = prompt.labels.shape[0]
    if not lengths or not all(0 <= length <= num_icl for length in lengths):
        raise ValueError(
            f"lengths must be one or more in [0, {num_icl}], the examples of the prompt, got {lengths}; "
            f"shorten them or give a longer prompt."
        )


def cross_entropy(
    predictor: Predictor, bins: Bins, features: Float[Array, "b m d"], labels: Float[Array, "b m"]
) -> Float[Array, ""]:
    """Mean cross entropy of b sequences of m examples, in nats per label: -log mass of each label's bin.

    Sequences of one example make it fine-tuning at zero context: features `[n 1 d]`, labels `[n 1]`.

    >>> from w2s_jax.predictive import make_bins
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> bayes = BayesPredictor(task, make_bins(5.0, 2))
    >>> cost = jax.jit(cross_entropy)(bayes, bayes.bins, jnp.zeros((4, 1, 3)), jnp.ones((4, 1)))  # heads or tails
    >>> round(float(cost), 4)
    0.6931
    """
    laws = jax.vmap(predictor.__call__)(features, labels)
    return -jnp.take_along_axis(laws, bin_index(bins, labels)[..., None], axis=-1).mean()


def loss(key: Key, regressor: Predictor, task: Task, bins: Bins, batch: int, length: int) -> Float[Array, ""]:
    """The pre-training loss: `cross_entropy` of new sequences of the source, sequence i drawn with `fold_in(key, i)`.

    Args:
        key: a typed key, of one training step.
        regressor: the network, or any predictor.
        task: what the source is.
        bins: those of the regressor.
        batch: number of sequences, >= 1, static.
        length: m >= 1, static; context lengths 0, ..., m - 1 are trained.

    Returns:
        Nats per label; no predictor does better than `BayesPredictor` in expectation.

    >>> from w2s_jax.predictive import make_bins
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> bayes = BayesPredictor(task, make_bins(5.0, 20))
    >>> wrong = bayes._replace(task=task._replace(source_prior=jnp.array([0.5, 0.5])))
    >>> costs = [
    ...     jax.jit(loss, static_argnums=(4, 5))(jax.random.key(0), p, task, p.bins, 500, 4) for p in (bayes, wrong)
    ... ]
    >>> bool(costs[0] < costs[1])
    True
    """
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(batch))
    return cross_entropy(regressor, bins, *jax.vmap(lambda key: sample_sequence(key, task, length))(keys))
