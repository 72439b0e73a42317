"""From tokens to the results of a language sweep: every answer read as text, judged, and kept question by question."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sims.engine.store import Store, save_results
from sims.language.facts import load
from sims.language.judge import Judge
from sims.language.spec import USES_CAPABILITY, USES_NUM_ICL, LanguageSpec
from sims.language.tables import Division, divide, pool
from sims.language.teachers import weak_answers, wrong_values
from sims.language.voices import VOICES, style
from w2s_jax.checkpoints import Checkpoint

GRID = ("method", "voice", "capability", "num_icl", "seed")
LABELS = {
    "method": ("method", ""),
    "voice": ("voice of the teacher", ""),
    "capability": ("share of the facts that the weak teacher knows", "1"),
    "num_icl": ("weak examples in the context", "examples"),
    "seed": ("seed of facts, teachers and fine-tuning", ""),
    "question": ("questions: those to train on, then those held out, then those of the unrelated skill", ""),
}


def assemble(spec: LanguageSpec, checkpoint: Checkpoint, store: Store, counts: np.ndarray, staging: Path) -> None:
    """Read every seed and voice, judge the answers and write the results."""
    seeds = range(len(counts))
    blocks = [[store.read(seed, voice) for seed in seeds] for voice in range(len(spec.voices))]
    divisions = [divide(spec, seed) for seed in seeds]

    def found(name: str) -> np.ndarray:
        """`[method voice C I seed ...]`; repeated along what a method does not read."""
        grids = [
            [[_on_grid(spec, method, np.asarray(block[f"{method}.{name}"])) for block in row] for row in blocks]
            for method in spec.methods
        ]
        return np.moveaxis(np.array(grids), 2, 4)

    texts, own, plain = found("tokens"), found("claims"), found("plain_claims")
    texts = np.array([checkpoint.tokenizer.decode(row) for row in texts.reshape(-1, texts.shape[-1])]).reshape(
        texts.shape[:-1]
    )
    judged = _judged(spec, divisions, texts)
    shares, plain_shares = _shares(own), _shares(plain)
    asked, of_world = (*GRID, "question"), spec.train_questions + spec.held_out_questions

    def padded(values: np.ndarray) -> np.ndarray:
        """Values of the world's questions; there is none of the skill's."""
        more = spec.skill_questions
        return np.concatenate([values, np.full((*values.shape[:-1], more), np.nan)], axis=-1)

    teacher = _teacher(spec, divisions)
    names = [f"{fact.relation.name}: {fact.subject}" for division in divisions for fact in division.asked]
    arrays: dict[str, tuple[tuple[str, ...], np.ndarray, str, str]] = {
        "content": (asked, judged["content"], "whether the right value is named before any rival", "1"),
        "style": (asked, judged["style"], "share of the voice's marks in the answer", "1"),
        "copied": (asked, judged["copied"], "whether the teacher's wrong value is named first", "1"),
        "forced": (asked, padded(shares[..., 0]), "probability of the right value among its rivals, after the opening "
                   "of an answer in this voice", "1"),
        "forced_wrong": (asked, padded(shares[..., 1]), "that of the teacher's wrong value", "1"),
        "plain_forced": (asked, padded(plain_shares[..., 0]), "probability of the right value after the opening of a "
                         "plain answer", "1"),
        "drift": (GRID, found("drift"), "KL(untouched || model) of the next token of neutral texts", "nats"),
        "teacher_is_right": (("capability", "seed", "question"), teacher, "whether the teacher knows the fact", "1"),
        "split": (("question",), np.repeat(["train", "held_out", "unrelated"], _sizes(spec)), "part", ""),
        "fact": (("seed", "question"), np.array(names).reshape(len(divisions), -1), "relation and subject", ""),
        "answer": (asked, texts, "the likeliest answer", ""),
        "num_replicates": ((), np.array(len(divisions)), "seeds", "1"),
    }  # fmt: skip
    variables: dict[str, Any] = {
        name: (dims, values, {"long_name": text, "units": unit}) for name, (dims, values, text, unit) in arrays.items()
    }
    for dim, users in (("capability", USES_CAPABILITY), ("num_icl", USES_NUM_ICL)):
        variables[f"uses_{dim}"] = (("method",), np.isin(spec.methods, users), {"long_name": f"whether it reads {dim}"})
    held = {
        "method": spec.methods,
        "voice": spec.voices,
        "capability": spec.capability,
        "num_icl": spec.num_icl,
        "seed": list(seeds),
        "question": range(of_world + spec.skill_questions),
    }
    coordinates = {
        name: ((name,), np.array(values), {"long_name": LABELS[name][0], "units": LABELS[name][1]})
        for name, values in held.items()
    }
    save_results(xr.Dataset(variables, coordinates), staging)


def _on_grid(spec: LanguageSpec, method: str, values: np.ndarray) -> np.ndarray:
    """Results of a method as `[C I ...]`."""
    if method not in USES_CAPABILITY:
        values = values[None]
    if method not in USES_NUM_ICL:
        values = values[:, None]
    return np.broadcast_to(values, (len(spec.capability), len(spec.num_icl), *values.shape[2:]))


def _sizes(spec: LanguageSpec) -> tuple[int, int, int]:
    return spec.train_questions, spec.held_out_questions, spec.skill_questions


def _shares(claims: np.ndarray) -> np.ndarray:
    """Probabilities among the values, from log probabilities `[... V]`."""
    weights = np.exp(claims - claims.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _judged(spec: LanguageSpec, divisions: list[Division], texts: np.ndarray) -> dict[str, np.ndarray]:
    """Content, style and copied errors of answers `[method voice C I seed question]`."""
    judge = Judge(load())
    known = pool(spec, *spec.relations)
    wrong = [wrong_values([*d.train, *d.held_out], seed, known) for seed, d in enumerate(divisions)]
    found = {name: np.full(texts.shape, np.nan) for name in ("content", "style", "copied")}
    for place in np.ndindex(texts.shape):
        _, voice, _, _, seed, question = place
        text, fact = str(texts[place]), divisions[seed].asked[question]
        found["content"][place] = bool(judge.right(text, fact))
        if question < len(wrong[seed]):
            found["style"][place] = style(text, VOICES[spec.voices[voice]])
            found["copied"][place] = bool(judge.copied(text, fact, wrong[seed][question]))
    return found


def _teacher(spec: LanguageSpec, divisions: list[Division]) -> np.ndarray:
    """Whether the teacher knows each fact it labels, `[C seed question]`; NaN where it labels none."""
    known = pool(spec, *spec.relations)
    found = np.full((len(spec.capability), len(divisions), sum(_sizes(spec))), np.nan)
    for seed, division in enumerate(divisions):
        for place, capability in enumerate(spec.capability):
            said = weak_answers(division.train, capability, seed, known)
            found[place, seed, : len(said)] = [claim == fact.value for claim, fact in zip(said, division.train)]
    return found
