"""A pre-trained language model beside PyTorch on the same weights: reading, training and writing, in tokens per second.

    python -m benchmarks.language [--model smollm2-135m] [--json FILE] [--quick]

PyTorch's side is the library transformers, uncompiled, where both are installed; each contender has a process of its
own and all cores. A share of the matrix products counts two operations a weight that a token is multiplied by.
"""

# pyright: reportMissingImports=false
import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import devices, limits, quiet, run
from benchmarks.parts import HEADLINE
from benchmarks.timing import MIN_REPEATS, Timing, in_fresh_process, measure

PARTS = ("prefill", "training", "decoding")
CONTENDERS = ("w2s_jax", "transformers")


class Size(NamedTuple):
    """How much is read and written at once."""

    rows: int
    places: int
    """Tokens of a row that is read or trained on, and of a prompt."""
    written: int
    """Tokens written after a prompt."""


SIZE, QUICK = Size(16, 48, 32), Size(2, 8, 4)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.language", description="Times a language model against PyTorch on the same weights."
    )
    parser.add_argument("--model", default="smollm2-135m", help="a .gguf file, a folder, or smollm2-135m")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there, as a list of objects")
    parser.add_argument("--quick", action="store_true", help="a rehearsal: few and short rows")
    options = parser.parse_args(argv)
    error = None if options.json is None else run.json_error(options.json)
    try:
        rows = [] if error else rows_of(options.model, QUICK if options.quick else SIZE, 0.1 if options.quick else 1.0)
    except (ValueError, ImportError) as refused:
        error = str(refused)
    if error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


# --- what is measured -----------------------------------------------------------------------------------------------


def rows_of(model: str, size: Size, seconds: float) -> list[dict]:
    """Measure all parts by all contenders that are installed.

    Raises:
        ValueError: if the model cannot be read.
    """
    machine = in_fresh_process(devices.machine)
    rival = has_rival()
    with tempfile.TemporaryDirectory() as place:
        folder = str(Path(place) / "model")
        about = in_fresh_process(save, model, folder)  # one folder of weights for both
        run.say("measuring matrix products")
        found = limits.measured(HEADLINE, machine.cores, MIN_REPEATS, seconds)
        ceiling = next(limit.rate for limit in found if limit.resource == "matmul")
        timed: dict[tuple[str, str], Timing] = {}
        for part in PARTS:
            for contender in CONTENDERS if rival else CONTENDERS[:1]:
                run.say(f"{part}, {contender}")
                timed[part, contender] = in_fresh_process(time_here, part, contender, folder, size, seconds)

    def rate(part: str, contender: str) -> float:
        timing = timed[part, contender]
        return size.rows * (size.written if part == "decoding" else size.places) * timing.units / timing.median_seconds

    rows = []
    for (part, contender), timing in timed.items():
        operations = 2 * products(part, size, about["block_weights"], about["head_weights"])
        rows.append({
            "part": part,
            "contender": contender,
            **about,
            **size._asdict(),
            "tokens_per_second": rate(part, contender),
            "fraction_of_matmul": operations * timing.units / timing.median_seconds / ceiling,
            "matmul_flops_per_second": ceiling,
            "ratio_to_transformers": rate(part, contender) / rate(part, CONTENDERS[1]) if rival else None,
            "compile_seconds": timing.compile_seconds,
            "peak_mb": timing.peak_mb,
            "seconds": list(timing.seconds),
            "repeats": len(timing.seconds),
            "cores_used": timing.cores_used,
            "others_share": timing.others_share,
            **machine.origin(0),
        })  # fmt: skip
    return rows


def products(part: str, size: Size, blocks: int, head: int) -> int:
    """Weights, each as often as a token is multiplied by it; the head reads only those places whose logits are needed.

    >>> products("prefill", Size(rows=2, places=10, written=3), 100, 7)
    2014
    """
    if part == "training":
        return 3 * size.rows * size.places * (blocks + head)  # gradients take twice the forward pass
    written = size.written if part == "decoding" else 1
    return size.rows * ((size.places + written - 1) * blocks + written * head)


def has_rival() -> bool:
    """Whether the other side is installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def save(model: str, folder: str) -> dict[str, Any]:
    """The model as a folder that both can read; what it is called, and the weights of its blocks and of its head."""
    import jax

    from w2s_jax import checkpoints

    checkpoint = checkpoints.load(model)
    checkpoints.save(folder, checkpoint)
    found = checkpoint.model
    blocks = sum(leaf.size for leaf in jax.tree.leaves(found.decoder.blocks) if leaf.ndim == 3)  # stacked over layers
    head = found.embedding.num_embeddings * found.config.width
    return {"model": checkpoint.name, "block_weights": int(blocks), "head_weights": int(head)}


def time_here(part: str, contender: str, folder: str, size: Size, seconds: float) -> Timing:
    """Time a part by a contender in this process."""
    ids = np.random.default_rng(0).integers(10, 200, (size.rows, size.places))
    call = {"w2s_jax": _jax, "transformers": _torch}[contender](part, folder, ids, size.written)

    def repeat(units: int) -> None:
        for _ in range(units):
            call()

    return measure(repeat, seconds=seconds)


# --- the contenders -------------------------------------------------------------------------------------------------


def _jax(part: str, folder: str, ids: np.ndarray, written: int) -> Callable[[], Any]:
    devices.start(1)
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from w2s_jax import checkpoints
    from w2s_jax.training import TrainingConfig, init_state, make_optimizer, train
    from w2s_jax.transformer import generate, token_log_probs, with_scan

    model = checkpoints.load(folder).model
    # A scan over layers compiles faster; where a step is repeated, blocks apart spare it copies of their weights.
    graph, params = nnx.split(model if part == "prefill" else with_scan(model, False))
    tokens, lengths = jnp.asarray(ids), jnp.full(len(ids), ids.shape[1])
    optimizer = make_optimizer(TrainingConfig(num_steps=100, weight_decay=0.0))

    def loss(params, key):
        return -token_log_probs(nnx.merge(graph, params), tokens, rows=4).mean()

    def prefill(params):
        found = nnx.merge(graph, params)
        return found.read_out(found.decoder(found.embedding(tokens))[:, -1])

    programs = {
        "prefill": jax.jit(prefill),
        "training": jax.jit(lambda state: train(jax.random.key(0), state, loss, optimizer, 1)[0]),
        "decoding": jax.jit(lambda params: generate(None, nnx.merge(graph, params), tokens, lengths, written)),
    }
    given = init_state(params, optimizer) if part == "training" else params
    return lambda: jax.block_until_ready(programs[part](given))


def _torch(part: str, folder: str, ids: np.ndarray, written: int) -> Callable[[], Any]:
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    tokens = torch.as_tensor(ids)

    def prefill():
        with torch.inference_mode():
            return model(tokens, logits_to_keep=1, use_cache=False).logits

    def decoding():
        with torch.inference_mode():
            return model.generate(
                tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=written,
                min_new_tokens=written, pad_token_id=0
            )  # fmt: skip

    if part == "training":
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0)

    def training():
        optimizer.zero_grad()
        model(tokens, labels=tokens, use_cache=False).loss.backward()
        optimizer.step()

    return {"prefill": prefill, "training": training, "decoding": decoding}[part]


# --- in words -------------------------------------------------------------------------------------------------------


def report(rows: list[dict]) -> str:
    """The figures as a table."""
    lines = [
        "| part | contender | tokens/s | of matrix products | ratio to transformers | compile | peak memory |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        ratio = row["ratio_to_transformers"]
        lines.append(
            f"| {row['part']} | {row['contender']} | {row['tokens_per_second']:,.0f} | {row['fraction_of_matmul']:.0%} "
            f"| {'-' if ratio is None else quiet.ratio_text(row, format(ratio, '.2f'))} "
            f"| {row['compile_seconds']:.1f} s | {row['peak_mb']:,.0f} MB |"
        )
    first = rows[0]
    what = f"{first['model']}, {first['rows']} rows of {first['places']} tokens, {first['written']} written, float32"
    return "\n".join([*lines, "", f"{what}; {first['machine']}; medians of {first['repeats']}", *quiet.warning(rows)])


if __name__ == "__main__":
    sys.exit(main())
