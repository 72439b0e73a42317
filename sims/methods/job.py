"""The program of an arena, and the table of its methods."""

import math
from functools import partial

import jax

from sims.engine import runtime
from sims.engine.checked import check_definitions
from sims.engine.run import Job, bound
from sims.methods import plugin
from sims.methods.relaxed import NUM_LEVELS
from sims.methods.replicate import block_sums, grid_of
from sims.methods.results import assemble, relative_sem
from sims.methods.spec import DEFINITIONS, ArenaSpec
from w2s_jax.methods import METHODS, Method
from w2s_jax.names import LABELS


def prepare(spec: ArenaSpec) -> Job:
    """The tasks, and the program that fills a block of them."""
    check_definitions(spec.definitions, DEFINITIONS)
    tasks = grid_of(spec)
    if own := plugin.name_of(spec.plugin):
        one = jax.tree.map(lambda values: values[0], tasks)
        plugin.check_runs(spec.method(own), spec.labels, one, spec.examples(own, "compute"), spec.num_icl)
    blocks = math.ceil(spec.replicates / spec.block_size)
    relaxed = len(spec.relaxed) * NUM_LEVELS
    values = sum(len(spec.method(name).candidates()) for name in spec.methods)
    each = {"linear": 0.01, "sign": 0.026}[spec.labels]  # seconds of a core for all methods on a task of 256 examples
    return Job(
        program=bound(block_sums, spec),
        chunks=[tasks],
        assemble=partial(assemble, spec),
        plan=[
            f"{len(spec.methods)} methods, {values} combinations of knobs, {spec.num_cells:,} tasks and {relaxed:,} "
            f"relaxed ones x {spec.replicates:,} independent replicates",
            f"{blocks} blocks of {spec.block_size:,} replicates on {len(runtime.devices())} devices",
        ],
        seconds=40 + each * (spec.num_cells + relaxed) * spec.replicates / 2 * (spec.sample_size / 256),
        tasks_per_replicate=(spec.num_cells + relaxed) * len(spec.methods),
        relative_sem=partial(relative_sem, spec),
        holes=dict.fromkeys(("copied_mean", "copied_square"), True),
    )


def table(own: str = "") -> str:
    """All methods: what they see, and whether that can be had of a language model, what they cost and tune, where they
    come from, and where signs make a difference; then that of a plugin."""
    lines = []
    for method in (*METHODS.values(), *([plugin.find(own)] if own else [])):
        lines.append(f"{method.name}: {method.about}{' (reads the target)' * method.reads_target}")
        lines.append(f"    labels {', '.join(method.labels)}")
        lines += _facts(method)
        if method.labels == LABELS:
            signs = method.on("sign")
            other = [signs.about] * (signs.about != method.about)
            other += [fact.strip() for fact in _facts(signs) if fact not in _facts(method)]
            lines += [f"    sign   {fact}" for fact in other]
    return "\n".join(lines)


def _facts(method: Method) -> list[str]:
    cost = method.cost
    calls = f"{cost.calls} strong answers{' after m weak examples' * cost.in_context}" if cost.calls else "none"
    lines = [f"    sees   {', '.join(method.sees)}", f"    with a language model: {method.in_practice}"]
    lines.append(f"    costs  an example: {calls}; {cost.fits} fits")
    for name, knob in method.knobs.items():
        tried = ", ".join(f"{value:g}" for value in knob.candidates)
        lines.append(f"    {name} = {knob.default:g} in [{knob.low:g}, {knob.high:g}], tried: {tried}; {knob.about}")
    return [*lines, f"    {method.reference}"]
