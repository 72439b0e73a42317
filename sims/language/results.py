"""From tokens to the results of a language sweep: every answer read as text, judged, and kept question by question."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sims.engine.store import Store, save_results
from sims.language.spec import USES_NUM_ICL, USES_TEACHER, LanguageSpec
from sims.language.tables import Division, divide
from sims.language.teaching import Teaching
from sims.language.voices import style
from w2s_jax.checkpoints import Checkpoint

GRID = ("method", "voice", "teacher", "num_icl", "seed")
TAUGHT = ("teacher", "voice", "seed", "question")
LABELS = {
    "method": ("method", ""),
    "voice": ("voice of the teacher", ""),
    "teacher": ("weak teacher: the share of the facts that it knows, or the name of a model", ""),
    "num_icl": ("weak examples in the context", "examples"),
    "seed": ("seed of facts, teachers and fine-tuning", ""),
    "question": ("questions: those to train on, then those held out, then those of the unrelated skill", ""),
}


def assemble(
    spec: LanguageSpec,
    checkpoint: Checkpoint,
    taught: Sequence[Teaching],
    store: Store,
    counts: np.ndarray,
    staging: Path,
) -> None:
    """Read every seed and voice, judge the answers and write the results."""
    seeds = range(len(counts))
    blocks = [[store.read(seed, voice) for seed in seeds] for voice in range(len(taught))]
    divisions = [divide(spec, taught[0].facts, seed) for seed in seeds]

    def found(name: str) -> np.ndarray:
        """`[method voice teacher I seed ...]`; repeated along what a method does not read."""
        grids = [
            [[_on_grid(spec, method, np.asarray(block[f"{method}.{name}"])) for block in row] for row in blocks]
            for method in spec.methods
        ]
        return np.moveaxis(np.array(grids), 2, 4)

    texts, own, plain = found("tokens"), found("claims"), found("plain_claims")
    texts = np.array([checkpoint.tokenizer.decode(row) for row in texts.reshape(-1, texts.shape[-1])]).reshape(
        texts.shape[:-1]
    )
    judged = _judged(taught, divisions, texts)
    shares, plain_shares = _shares(own), _shares(plain)
    asked = (*GRID, "question")

    def padded(values: np.ndarray) -> np.ndarray:
        """Values of the questions that are held out; there is none of the others."""
        sizes = _sizes(spec)
        missing = [np.full((*values.shape[:-1], size), np.nan) for size in (sizes[0], sizes[2])]
        return np.concatenate([missing[0], values, missing[1]], axis=-1)

    known = _known(spec, taught, divisions)
    names = [f"{fact.relation.name}: {fact.subject}" for division in divisions for fact in division.asked]
    arrays: dict[str, tuple[tuple[str, ...], np.ndarray, str, str]] = {
        "content": (asked, judged["content"], "whether the right value is named before any rival", "1"),
        "style": (asked, judged["style"], "share of the voice's marks in the answer", "1"),
        "copied": (asked, judged["copied"], "whether the teacher's wrong value is named first", "1"),
        "forced": (asked, padded(shares[..., 0]), "probability of the right value among its rivals, after the opening "
                   "of an answer in this voice", "1"),
        "forced_wrong": (asked, padded(shares[..., 1]), "that of the first teacher's wrong value", "1"),
        "plain_forced": (asked, padded(plain_shares[..., 0]), "probability of the right value after the opening of a "
                         "plain answer", "1"),
        "drift": (GRID, found("drift"), "KL(untouched || model) of the next token of neutral texts", "nats"),
        "teacher_is_right": (TAUGHT, known, "whether the teacher's answer names the right value before any rival", "1"),
        "capability": (TAUGHT[:3], np.nanmean(known, axis=3), "share of its answers that do", "1"),
        "split": (("question",), np.repeat(["train", "held_out", "unrelated"], _sizes(spec)), "part", ""),
        "fact": (("seed", "question"), np.array(names).reshape(len(divisions), -1), "relation and subject", ""),
        "answer": (asked, texts, "the likeliest answer", ""),
        "num_replicates": ((), np.array(len(divisions)), "seeds", "1"),
    }  # fmt: skip
    variables: dict[str, Any] = {
        name: (dims, values, {"long_name": text, "units": unit}) for name, (dims, values, text, unit) in arrays.items()
    }
    for dim, users in (("teacher", USES_TEACHER), ("num_icl", USES_NUM_ICL)):
        variables[f"uses_{dim}"] = (("method",), np.isin(spec.methods, users), {"long_name": f"whether it reads {dim}"})
    held = {
        "method": spec.methods,
        "voice": spec.spoken,
        "teacher": spec.teachers,
        "num_icl": spec.num_icl,
        "seed": list(seeds),
        "question": range(sum(_sizes(spec))),
    }
    coordinates = {
        name: ((name,), np.array(values), {"long_name": LABELS[name][0], "units": LABELS[name][1]})
        for name, values in held.items()
    }
    save_results(xr.Dataset(variables, coordinates), staging)


def _on_grid(spec: LanguageSpec, method: str, values: np.ndarray) -> np.ndarray:
    """Results of a method as `[teacher I ...]`."""
    if method not in USES_TEACHER:
        values = values[None]
    if method not in USES_NUM_ICL:
        values = values[:, None]
    return np.broadcast_to(values, (len(spec.teachers), len(spec.num_icl), *values.shape[2:]))


def _sizes(spec: LanguageSpec) -> tuple[int, int, int]:
    return spec.train_questions, spec.held_out_questions, spec.skill_questions


def _shares(claims: np.ndarray) -> np.ndarray:
    """Probabilities among the values, from log probabilities `[... V]`."""
    weights = np.exp(claims - claims.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _judged(taught: Sequence[Teaching], divisions: list[Division], texts: np.ndarray) -> dict[str, np.ndarray]:
    """Content, style and copied errors of answers `[method voice teacher I seed question]`."""
    found = {name: np.full(texts.shape, np.nan) for name in ("content", "style", "copied")}
    for (voice, seed), teaching, division in _each(taught, divisions):
        wrong = teaching.wrong([*division.train, *division.held_out], seed)
        own = texts[:, voice, :, :, seed]
        for method, teacher, number, question in np.ndindex(own.shape):
            text, fact = str(own[method, teacher, number, question]), division.asked[question]
            place = (method, voice, teacher, number, seed, question)
            named = teaching.judge.named(text, fact)
            found["content"][place] = named == fact.value
            if question < len(wrong[teacher]):
                found["copied"][place] = named == wrong[teacher][question]
                if teaching.voice.marks:
                    found["style"][place] = style(text, teaching.voice)
    return found


def _known(spec: LanguageSpec, taught: Sequence[Teaching], divisions: list[Division]) -> np.ndarray:
    """Whether each teacher is right about each fact that it labels, `TAUGHT`; NaN where it labels none."""
    found = np.full((len(spec.teachers), len(taught), len(divisions), sum(_sizes(spec))), np.nan)
    for (voice, seed), teaching, division in _each(taught, divisions):
        for teacher, texts in enumerate(teaching.said(division.train, seed)):
            right = [bool(teaching.judge.right(text, fact)) for text, fact in zip(texts, division.train)]
            found[teacher, voice, seed, : len(right)] = right
    return found


def _each(taught: Sequence[Teaching], divisions: list[Division]):
    """Every voice and seed: their numbers, what is taught, and the questions."""
    for voice, teaching in enumerate(taught):
        for seed, division in enumerate(divisions):
            yield (voice, seed), teaching, division
