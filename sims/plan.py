"""Predicts from your numbers which method wins, by how much, and what would change it.

    python -m sims.plan --weak-accuracy 0.7 --concept-shift 0.5 --num-samples 1024 --dim 32 --num-concepts 4
    python -m sims.plan --start-accuracy 0.8 --teacher-accuracy 0.7 --agreement 0.66

No simulation: every number is a closed form (docs/planning.md). The accuracies alone give the path of fine-tuning; with
--num-samples, --dim and --num-concepts they describe the task too. Exit code 0; 2: invalid input.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sims.engine import arguments, cli
from sims.engine.arguments import Option
from sims.engine.checked import InputError
from sims.engine.files import check_figure, check_writable
from w2s_jax.planning import question as questions

if TYPE_CHECKING:
    from w2s_jax import Plan

NUMBERS = {
    "weak_accuracy": (float, "accuracy a of the teacher, in (0, 1]: its correlation with the target"),
    "concept_shift": (float, "total variation between source and target prior, in [0, 1)"),
    "num_samples": (int, "n, weak labels to fine-tune on"),
    "dim": (int, "d, features"),
    "num_concepts": (int, "K, latent concepts, at least 2"),
    "noise_var": (float, "noise variance of a label; default 0.25"),
    "num_icl": (int, "weak examples in a prompt; default 16"),
    "weakness": (str, "kind of teacher: rotated, shifted, noisy, confused or opposed; default rotated"),
    "start_accuracy": (float, "accuracy of the student before fine-tuning, in (0, 1)"),
    "teacher_accuracy": (float, "accuracy of the teacher, in (0, 1)"),
    "agreement": (float, "share of inputs on which the two agree"),
    "num_true": (int, "how many of the n labels are true; default 0"),
}
DEFAULTS = {"noise_var": 0.25, "num_icl": 16, "num_true": 0}
FILES = {
    "json": "write the plan there as JSON; - for the terminal, in place of the table",
    "figure": "draw the point on the predicted phase diagram: a PNG, PDF or SVG file",
}
NAMES = {
    "naive_ft": "naive fine-tuning",
    "naive_ft_floor": "  its floor, any penalty",
    "icl_refine_shared": "refinement, shared prompt",
    "icl_refine_fresh": "refinement, fresh prompts",
    "span": "span of the concepts",
    "hull": "hull of the concepts",
    "source": "source, untouched",
    "weak": "weak teacher",
    "ceiling": "ceiling, true labels",
    "mixed_ft": "weak and true, equal weight",
    "true_only": "the true labels alone",
}
POINTS = 16
"""Points on a side of the phase diagram."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command."""
    options = {name: Option(kind, False, False) for name, (kind, _) in NUMBERS.items()}
    words = sys.argv[1:] if argv is None else list(argv)
    if "-" in words[1:]:  # the terminal, which alone would look like an option
        at = words.index("-", 1)
        words[at - 1 : at + 1] = [f"{words[at - 1]}=-"]
    argv = arguments.checked(words, options | dict.fromkeys(FILES, Option(str, False, False)))
    parser = argparse.ArgumentParser(
        prog="python -m sims.plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, (kind, text) in NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=DEFAULTS.get(name), help=text)
    for name, text in FILES.items():
        parser.add_argument(f"--{name}", metavar="FILE", help=text)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.guarded(lambda: _answer(parse(argv)))


def _answer(options: argparse.Namespace) -> None:
    numbers = {name: getattr(options, name) for name in NUMBERS}
    question = _asked(lambda: questions.read(**numbers))[0]
    _check_files(options, question)
    from sims.engine import runtime
    from w2s_jax import plan

    with runtime.restored():
        runtime.configure(None, True)
        found = _asked(lambda: plan(**numbers))
        if options.figure:
            _draw(found, Path(options.figure))
    if options.json != "-":
        print("\n".join(table(found)))
    text = json.dumps(as_json(found), indent=1)
    if options.json == "-":
        print(text)
    elif options.json:
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(text + "\n")


def _asked(act):
    try:
        return act()
    except ValueError as error:
        raise InputError(str(error)) from None


def _check_files(options: argparse.Namespace, question) -> None:
    if options.json and options.json != "-":
        check_writable(Path(options.json))
    if options.figure is None:
        return
    check_figure(Path(options.figure))
    if question is None:
        raise InputError(
            f"--figure needs a task to draw, got accuracies alone for {options.figure}; give --num-samples, --dim and "
            f"--num-concepts."
        )


def as_json(plan: "Plan") -> dict[str, Any]:
    """The plan as JSON can hold it: names for fields, null for what is not known, "never" for what is infinite."""

    def plain(value):
        if hasattr(value, "_asdict"):
            return {name: plain(part) for name, part in value._asdict().items()}
        if isinstance(value, tuple):
            return [plain(part) for part in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None if math.isnan(value) else "never"
        return value

    return plain(plan)


def table(plan: "Plan") -> Iterator[str]:
    """The lines that are printed."""
    if plan.question is not None:
        yield from _predictions(plan)
    if plan.path is not None:
        yield from _path(plan)


def _predictions(plan: "Plan") -> Iterator[str]:
    q = plan.question
    assert q is not None and plan.lengths is not None and plan.lengths_in_the_limit is not None
    kind = f"{q.weakness} teacher" + (f" (lean {q.lean:.2f})" if q.weakness == questions.OWN else "")
    yield (
        f"{kind}: weak accuracy {q.weak_accuracy:.3g}, concept shift {q.concept_shift:.3g}, K = {q.num_concepts}, "
        f"d = {q.dim}, noise variance {q.noise_var:g}"
    )
    true = f" ({q.num_true:,} of them true)" if q.num_true else ""
    yield f"n = {q.num_samples:,} labels{true}, prompts of {q.num_icl}"
    yield ""
    yield f"{'method':<26} {'risk':>9} {'+-':>8} {'n = inf':>9} {'PGR':>7} {'sign acc.':>9} {'labels enough':>13}"
    for line in plan.predictions:
        error = "?" if line.error is None else "exact" if line.error == 0 else f"{line.error:.1g}"
        enough = "" if line.limit is None else _count(line.enough)
        limit = "" if line.limit is None else _number(line.limit)
        gap = "no gap" if line.pgr is None and line.risk is not None else _number(line.pgr)
        yield (
            f"{NAMES[line.method]:<26} {_number(line.risk):>9} {error if line.risk is not None else '':>8} {limit:>9} "
            f"{gap:>7} {_number(line.sign_accuracy):>9} {enough:>13}"
        )
    yield ""
    yield _verdict(plan)
    if plan.best:
        yield f"Lowest risk of a student without true labels: {NAMES[plan.best]}, {_number(plan.line(plan.best).risk)}."
    if q.num_true and plan.line("true_only").risk is None:
        yield f"The {q.num_true:,} true labels alone are too few for least squares in {q.dim} features."
    fresh, shared = (
        f"{_length(now)} (n = inf: {_length(later)})"
        for now, later in zip(reversed(plan.lengths), reversed(plan.lengths_in_the_limit))
    )
    yield f"Refinement beats naive fine-tuning from prompts of: fresh {fresh}, shared {shared}."
    yield "labels enough: the risk stays within 5% of that at n = inf. sign acc.: of fitted students at n = inf."
    yield ""
    yield "by and assuming"
    for line in plan.predictions:
        yield f"  {NAMES[line.method].strip()}: {line.form}"
        yield f"    {line.assumes}"
    yield "not known"
    yield from (f"  {what}" for what in plan.not_known)


def _verdict(plan: "Plan") -> str:
    naive, fresh = plan.line("naive_ft").risk, plan.line("icl_refine_fresh").risk
    if naive is None or fresh is None:
        return "Not known which wins: the risk of one of the two is not known at this n."
    if plan.winner is None:
        return (
            f"Open: {_number(naive)} (naive) and {_number(fresh)} (refinement) differ by less than the stated errors."
        )
    names = {"naive_ft": "Naive fine-tuning", "icl_refine_fresh": "Refinement with fresh prompts"}
    low, high = sorted((naive, fresh))
    return f"{names[plan.winner]} wins: {_number(low)} against {_number(high)}, {high / low:.3g} times lower."


def _path(plan: "Plan") -> Iterator[str]:
    path = plan.path
    assert path is not None
    if plan.question is not None:
        yield ""
    yield (f"Accuracy: start {path.start_accuracy:g}, teacher {path.teacher_accuracy:g}, agreement {path.agreement:g}")
    if not path.gains:
        yield f"Naive fine-tuning only loses; it starts with {path.first_gain:.3g} per unit of progress."
        return
    passes = "passes" if path.passes_teacher else "does not pass"
    yield (
        f"Naive fine-tuning gains: at best {path.best_accuracy:.3f}, {path.progress:.1%} of the way to its teacher, "
        f"which it {passes}."
    )
    yield f"Stop where the student agrees with its teacher on {path.best_agreement:.1%} of the inputs."
    yield "assuming gaussian features, no bias, and many labels (theory_zoo.best_accuracy, theory_zoo.first_gain)"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.0e}"


def _count(value: float | None) -> str:
    if value is None or math.isinf(value):
        return "not known" if value is None else "never"
    return f"{float(f'{value:.3g}'):,.0f}"


def _length(value: float | None) -> str:
    return "not known" if value is None else "none up to 1024" if math.isinf(value) else f"{value:.0f}"


def _draw(found: "Plan", path: Path) -> None:
    import numpy as np

    from figures import style
    from figures.plan import point_on_phase_diagram
    from w2s_jax.planning.phase import phase

    q = found.question
    assert q is not None
    accuracies, shifts = np.linspace(0.1, 1.0, POINTS), np.linspace(0.02, 0.98, POINTS)
    risks = phase(q, accuracies, shifts)
    heading = (
        f"{q.weakness} teacher, n = {q.num_samples}, d = {q.dim}, K = {q.num_concepts}\n"
        f"noise variance {q.noise_var:g}, prompts of {q.num_icl}"
    )
    with style.style():
        point = (q.weak_accuracy, q.concept_shift)
        figure = point_on_phase_diagram(accuracies, shifts, risks.naive, risks.refined, point, heading)
        style.write(figure, path)


if __name__ == "__main__":
    sys.exit(main())
