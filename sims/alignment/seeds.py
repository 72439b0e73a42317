"""One seed of the whole pipeline in a world: a pure program, which the engine runs on every device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sims.alignment.finetune import Lesson, fine_tune, lesson
from sims.alignment.gate import Mastery
from sims.alignment.labels import own_labels, refine, self_refined, surest, true_labels
from sims.alignment.spec import BUDGETS, AlignmentSpec
from sims.alignment.strong import structure
from sims.alignment.teachers import Weak, beliefs, teach
from sims.training.lanes import one_by_one
from w2s_jax.alignment.answers import Questions, Report, label, report_unprompted
from w2s_jax.rng import replicate_key, stream
from w2s_jax.training import Params
from w2s_jax.types import Key, stack


class Networks(NamedTuple):
    """The pre-trained networks of all seeds, `[seeds ...]`."""

    strong: Params
    middle: Params | None
    """None where no method passes through them."""
    mastery: Mastery


class Outcome(NamedTuple):
    """Results of one seed."""

    reports: dict[str, Report]
    """By method, with axes of capability and number of weak examples where it reads them; `weak` by capability."""
    at_equal_compute: dict[str, Report]
    """The same reports for the methods that take fewer steps at naive fine-tuning's compute."""
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

    believed = beliefs(spec, stream(key, "weak"))
    weak = teach(spec, stream(key, "weak"), questions, model, believed)
    refined = refine(spec, stream(key, "refine"), model, questions, weak.labels, believed)
    target, untouched = true_labels(spec, stream(key, "truth"), questions)
    drawn = own_labels(spec, stream(key, "own"), model, questions)
    labels = {
        "ceiling": target,
        "control": untouched,
        "self_label": drawn[-1],
        "naive_ft": weak.labels,
        "icl_refine": refined.labels,
        "intent_refine": drawn[:-1],
        "aux_confidence": weak.labels,
        "reverse_kl": weak.labels,
        **weak.combined,
    }
    if "self_refine" in spec.methods:
        labels["self_refine"] = self_refined(spec, stream(key, "refine"), model, questions, weak.labels)
    if "selective" in spec.methods:
        labels["selective"] = jnp.where(surest(spec, model, questions)[:, None], drawn[-1], weak.labels)

    if "bootstrapping" in spec.methods:
        labels["bootstrapping"] = _through_middle(spec, stream(key, "middle"), own.middle, questions, weak)

    lessons = {}
    if "source" in spec.methods:
        # Fine-tuned by no step: a program of its own would take longer to compile than a fit takes.
        lessons["source", "examples"] = lesson(spec, drawn[-1], steps=0)
    for method in spec.fitted:
        for budget in spec.budgets(method):
            said = labels[method][budget] if method == "bootstrapping" else labels[method]
            lessons[method, budget] = lesson(spec, said, method, spec.steps(method, budget))

    reports = _fit_all(spec, stream(key, "finetune"), graph, own.strong, questions, lessons, weak.log_laws, believed)
    for name, found in reports.items():
        if name[0] == "intent_refine":
            reports[name] = jax.tree.map(lambda leaf: leaf[refined.named], found)
    by_budget = [{method: found for (method, of), found in reports.items() if of == budget} for budget in BUDGETS]
    by_budget[0] |= {"weak": weak.report, "prompt_only": refined.report}
    return Outcome(*by_budget, refined.named, refined.bayes_style, refined.divergence, own.mastery)


def split_questions(spec: AlignmentSpec, key: Key) -> Questions:
    """Which questions are labelled, held out, and asked of the skill: no two alike."""
    world = spec.world
    order = jax.random.permutation(stream(key, "world"), len(world.questions))
    skill = jax.random.permutation(stream(key, "skill"), len(world.skill_questions))
    end = spec.train_questions + spec.held_out_questions
    asked = len(world.questions) + skill[: spec.skill_questions]
    return Questions(order[: spec.train_questions], order[spec.train_questions : end], asked)


def _through_middle(
    spec: AlignmentSpec, key: Key, params: Params, questions: Questions, weak: Weak
) -> dict[str, Int[Array, "C n a"]]:
    """Labels of the network between the two, fine-tuned on weak labels (bootstrapping, arXiv 2312.09390), by budget."""
    graph, budgets = structure(spec, spec.middle_width), spec.budgets("bootstrapping")

    def one(given: Lesson) -> Array:
        tuned = fine_tune(spec, stream(key, "finetune"), graph, params, questions.train, given, weak.log_laws)
        return label(stream(key, "labels"), nnx.merge(graph, tuned), spec.world, questions.train)

    lessons = [lesson(spec, weak.labels, steps=spec.steps("bootstrapping", budget)) for budget in budgets]
    return dict(zip(budgets, jax.lax.map(lambda given: jax.lax.map(one, given), stack(lessons))))


def _fit_all(
    spec: AlignmentSpec,
    key: Key,
    graph: nnx.GraphDef,
    params: Params,
    questions: Questions,
    lessons: dict[tuple[str, str], Lesson],
    log_laws: Float[Array, "C n p vocab"],
    believed: Int[Array, "C Q"],
) -> dict[tuple[str, str], Report]:
    """Fine-tune one copy of the strong model on each lesson `[...]`, all by one program, and report it."""

    def one(given: Lesson) -> Report:
        tuned = fine_tune(spec, key, graph, params, questions.train, given, log_laws)
        return report_unprompted(stream(key, "labels"), nnx.merge(graph, tuned), spec.world, questions, believed)[0]

    return one_by_one(one, lessons, {name: given.steps.shape for name, given in lessons.items()})
