"""The gate before any fine-tuning: the model must know the facts that it is asked, or nothing can be lost.

It is asked development facts, which are reported nowhere, and its likeliest answers are judged.
"""

import jax
import numpy as np
from flax import nnx

from sims.engine.checked import InputError
from sims.language.facts import by_relation, draw, load, split
from sims.language.judge import Judge
from sims.language.prompts import conversation, rows_of, split_shared
from sims.language.scores import answers
from sims.language.spec import LanguageSpec
from sims.language.students import Asked
from w2s_jax.checkpoints import Checkpoint

ASKED = 12
"""Development facts of each relation that are asked, at most."""


def known_shares(spec: LanguageSpec, checkpoint: Checkpoint, relations: tuple[str, ...]) -> dict[str, float]:
    """Share of the development facts of each relation that the model answers rightly."""
    found = by_relation(split(load())[0])
    facts = [
        fact
        for name in relations
        for fact in sorted(found.get(name, []), key=lambda fact: draw(0, "gate", *fact.address))[:ASKED]
    ]
    prefix, own = split_shared([conversation(checkpoint, fact.question) for fact in facts])
    asked = jax.tree.map(np.asarray, Asked(np.array(prefix, np.int32), *rows_of(own)))
    graph, params = nnx.split(checkpoint.model)

    @jax.jit
    def likeliest(params, asked):
        return answers(nnx.merge(graph, params), asked, spec.answer_tokens, checkpoint.tokenizer.stop)

    texts = [checkpoint.tokenizer.decode(row) for row in np.asarray(likeliest(params, asked))]
    judge, right = Judge(load()), {name: [] for name in relations}
    for fact, text in zip(facts, texts):
        right[fact.relation.name].append(bool(judge.right(text, fact)))
    return {name: float(np.mean(each)) for name, each in right.items()}


def check_known(spec: LanguageSpec, checkpoint: Checkpoint) -> None:
    """Refuse a model that does not know its facts.

    Raises:
        InputError: naming the relation that it knows least.
    """
    if spec.min_known == 0:
        return
    shares = known_shares(spec, checkpoint, spec.relations)
    name = min(shares, key=lambda each: shares[each])
    if shares[name] < spec.min_known:
        raise InputError(
            f"min_known must be at most the share of development facts that the model knows, which is "
            f"{shares[name]:.2f} for {name}, got {spec.min_known}; leave that relation out, or choose a larger model."
        )
