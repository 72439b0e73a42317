"""One seed of the whole pipeline in a world: a pure program, which the engine runs on every device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sims.dialogues.answers import Questions, Report, label, report_unprompted
from sims.dialogues.finetune import fine_tune
from sims.dialogues.gate import Mastery
from sims.dialogues.labels import own_labels, refine, teach, true_labels
from sims.dialogues.spec import AlignmentSpec
from sims.dialogues.strong import structure
from w2s_jax.rng import replicate_key, stream
from w2s_jax.training import Params
from w2s_jax.types import Key


class Networks(NamedTuple):
    """The pre-trained networks of all seeds, `[seeds ...]`."""

    strong: Params
    middle: Params | None
    """None where no method passes through them."""
    mastery: Mastery


class Outcome(NamedTuple):
    """What one seed tells."""

    reports: dict[str, Report]
    """By method, with axes of capability and number of weak examples where it reads them; `weak` by capability."""
    named: Int[Array, "C I"]
    bayes_style: Float[Array, "C I"]
    divergence: Float[Array, "C I"]
    mastery: Mastery


def run_seed(spec: AlignmentSpec, key: Key, first_seed: Array, total: Array, networks: Networks) -> Outcome:
    """Everything of seed number `first_seed`; the signature is the engine's, and a block is one seed."""
    key = replicate_key(key, first_seed)
    own = jax.tree.map(lambda leaf: leaf[first_seed], networks)
    graph = structure(spec, spec.width)
    model = nnx.merge(graph, own.strong)
    questions = split_questions(spec, stream(key, "questions"))

    weak = teach(spec, stream(key, "weak"), questions)
    refined = refine(spec, stream(key, "refine"), model, questions, weak.labels)
    target, untouched = true_labels(spec, stream(key, "truth"), questions)
    drawn = own_labels(spec, stream(key, "own"), model, questions)
    labels = {
        "source": drawn[-1],
        "ceiling": target,
        "control": untouched,
        "self_label": drawn[-1],
        "naive_ft": weak.labels,
        "icl_refine": refined.labels,
        "intent_refine": drawn[:-1],
        "aux_confidence": weak.labels,
    }
    if networks.middle is not None:
        labels["bootstrapping"] = _through_middle(spec, stream(key, "middle"), own.middle, questions, weak.labels)
    labels = {name: found for name, found in labels.items() if name in spec.methods}

    reports = _fit_all(spec, stream(key, "finetune"), graph, own.strong, questions, labels)
    if "intent_refine" in reports:
        reports["intent_refine"] = jax.tree.map(lambda leaf: leaf[refined.named], reports["intent_refine"])
    reports |= {"weak": weak.report, "prompt_only": refined.report}
    return Outcome(reports, refined.named, refined.bayes_style, refined.divergence, own.mastery)


def split_questions(spec: AlignmentSpec, key: Key) -> Questions:
    """Which questions are labelled, held out, and asked of the skill: no two alike."""
    world = spec.world
    order = jax.random.permutation(stream(key, "world"), len(world.questions))
    skill = jax.random.permutation(stream(key, "skill"), len(world.skill_questions))
    end = spec.train_questions + spec.held_out_questions
    asked = len(world.questions) + skill[: spec.skill_questions]
    return Questions(order[: spec.train_questions], order[spec.train_questions : end], asked)


def _through_middle(
    spec: AlignmentSpec, key: Key, params: Params, questions: Questions, weak_labels: Int[Array, "C n a"]
) -> Int[Array, "C n a"]:
    """Labels of the network between the two, fine-tuned on weak labels (bootstrapping, arXiv 2312.09390)."""
    graph = structure(spec, spec.middle_width)

    def one(labels: Array) -> Array:
        tuned = fine_tune(spec, stream(key, "finetune"), graph, params, questions.train, labels)
        return label(stream(key, "labels"), nnx.merge(graph, tuned), spec.world, questions.train)

    return jax.lax.map(one, weak_labels)


def _fit_all(
    spec: AlignmentSpec, key: Key, graph: nnx.GraphDef, params: Params, questions: Questions, labels: dict[str, Array]
) -> dict[str, Report]:
    """Fine-tune one copy of the strong model on each set of labels `[... n a]`, all by one program, and report it.

    The untouched model is one of them, whose fine-tuning is dropped: a program of its own would take longer to compile
    than the fit takes.
    """
    if not labels:
        return {}
    flat = {name: found.reshape(-1, *found.shape[-2:]) for name, found in labels.items()}

    def lanes(name: str, value: float) -> Array:
        return jnp.concatenate([jnp.full(len(found), value if own == name else 0.0) for own, found in flat.items()])

    def one(fit: tuple[Array, Array, Array]) -> Report:
        own, confidence, untouched = fit
        tuned = fine_tune(spec, key, graph, params, questions.train, own, confidence)
        kept = jax.tree.map(lambda old, new: jnp.where(untouched > 0, old, new), params, tuned)
        return report_unprompted(spec, stream(key, "labels"), nnx.merge(graph, kept), questions)[0]

    settings = lanes("aux_confidence", spec.confidence), lanes("source", 1.0)
    found = jax.lax.map(one, (jnp.concatenate(list(flat.values())), *settings))
    reports, start = {}, 0
    for name, part in flat.items():
        axes = labels[name].shape[:-2]
        cut = slice(start, start + len(part))
        reports[name] = jax.tree.map(lambda leaf, cut=cut, axes=axes: leaf[cut].reshape(*axes, *leaf.shape[1:]), found)
        start += len(part)
    return reports
