"""The gate before any fine-tuning: the model must know what it is asked, or nothing can be lost.

    python -m sims.language.gate --model smollm2-135m --json FILE

A sweep asks development facts of its relations, which are reported nowhere. The command asks those of every relation,
and three tasks of the kind of the paper's others (tasks.json: sums, explanations in one sentence, questions that only a
prejudice could answer). Likeliest answers are judged.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from sims.engine import cli, runtime
from sims.engine.checked import InputError
from sims.engine.files import check_writable
from sims.language.facts import Fact, load, split
from sims.language.judge import Judge
from sims.language.models import read_model
from sims.language.prompts import conversation, rows_of, split_shared
from sims.language.scores import answers
from sims.language.spec import LanguageSpec
from sims.language.students import Asked
from w2s_jax.checkpoints import Checkpoint

TASKS = Path(__file__).with_name("tasks.json")


def known(spec: LanguageSpec, checkpoint: Checkpoint, facts: Sequence[Fact], judge: Judge) -> dict[str, list[bool]]:
    """For each relation, whether the model answers rightly, fact by fact."""
    prefix, own = split_shared([conversation(checkpoint, fact.question) for fact in facts])
    asked = jax.tree.map(np.asarray, Asked(np.array(prefix, np.int32), *rows_of(own)))
    graph, params = nnx.split(checkpoint.model)

    @jax.jit
    def likeliest(params, asked):
        return answers(nnx.merge(graph, params), asked, spec.answer_tokens, checkpoint.tokenizer.stop)

    texts = [checkpoint.tokenizer.decode(row) for row in np.asarray(likeliest(params, asked))]
    right: dict[str, list[bool]] = {}
    for fact, text in zip(facts, texts):
        right.setdefault(fact.relation.name, []).append(bool(judge.right(text, fact)))
    return right


def check_known(spec: LanguageSpec, checkpoint: Checkpoint) -> None:
    """Refuse a model that does not know its facts.

    Raises:
        InputError: naming the relation that it knows least.
    """
    if spec.min_known == 0:
        return
    chosen = [fact for fact in split(load())[0] if fact.relation.name in spec.relations]
    shares = {name: float(np.mean(right)) for name, right in known(spec, checkpoint, chosen, Judge(load())).items()}
    name = min(shares, key=lambda each: shares[each])
    if shares[name] < spec.min_known:
        raise InputError(
            f"min_known must be at most the share of development facts that the model knows, which is "
            f"{shares[name]:.2f} for {name}, got {spec.min_known}; leave that relation out, or choose a larger model."
        )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.language.gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=LanguageSpec().model, help="as that of python -m sims.language")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the shares there too, with what made them")
    options = parser.parse_args(argv)

    def act() -> None:
        spec = LanguageSpec(model=options.model)
        if options.json is not None:
            check_writable(options.json)
        runtime.configure()
        checkpoint, origin = read_model(spec, spec.model), runtime.provenance()
        right: dict[str, list[bool]] = {}
        longer = dataclasses.replace(spec, answer_tokens=2 * spec.answer_tokens)  # an explanation needs more words
        tasks = load(TASKS)
        for asks, facts, every in ((spec, split(load())[0], load()), (longer, tasks, tasks)):
            right |= known(asks, checkpoint, facts, Judge(every))
        rows = [{"relation": name, "questions": len(own), "known": sum(own)} for name, own in right.items()]
        for row in rows:
            print(
                f"{row['relation']:12} {row['known']:3} of {row['questions']:3}  {row['known'] / row['questions']:.2f}"
            )
        if options.json is not None:
            made = {"command": "python -m sims.language.gate", "model": checkpoint.name, "weights": checkpoint.origin}
            options.json.write_text(json.dumps({**made, **origin, "rows": rows}, indent=1) + "\n")

    return cli.guarded(act)


if __name__ == "__main__":
    sys.exit(main())
