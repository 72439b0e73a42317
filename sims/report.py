"""Turns finished sweeps into evidence: claims with their numbers, seed, configuration, commit and machine.

    python -m sims.report --results DIR [--out DIR/evidence]     the sweeps in DIR as evidence
    python -m sims.report --docs [--out docs/results]            the tables of all documents, from the evidence

The first writes `<command>-<preset>.csv`, the numbers that claims and documents read (sims/evidence.py), and
`<command>-<preset>.json`, the claims, evaluated on that table. A sweep that is no preset, not complete, or made by code
with uncommitted changes is refused: a claim must name a command and a commit that anyone can run. What is committed
in docs/results also holds what figures read: `python -m figures.evidence` writes it. The second fills every
mark in the documents (sims/tables/marks.py). Tests do both again and compare.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import xarray as xr

from sims import evidence
from sims.alignment.claims import alignment_claims
from sims.engine.checked import InputError, identity, to_json
from sims.engine.claims import Claim
from sims.engine.runtime import check_commit
from sims.engine.store import Store, completed, read_config
from sims.evidence import Evidence
from sims.incontext.claims import network_claims
from sims.language.claims import example_claims, language_claims, weaker_claims
from sims.methods.claims import arena_claims, sign_claims, true_label_claims
from sims.posterior_sweep.claims import posterior_claims
from sims.risk_sweep.claims import risk_claims
from sims.sweeps import SWEEPS
from sims.tables import Sources, marks
from sims.theory_sweep.claims import theory_claims

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = Path("docs/results")
"""The evidence that documents and tests read; it is written over only where --out names it."""
CLAIMS: dict[str, Callable[[xr.Dataset, Any], Iterable[Claim]]] = {
    "risk_sweep": risk_claims,
    "theory_sweep": theory_claims,
    "posterior_sweep": posterior_claims,
    "methods": arena_claims,
    "methods_sign": sign_claims,
    "methods_true_labels": true_label_claims,
    "methods_sign_true_labels": true_label_claims,
    "incontext": network_claims,
    **{name: alignment_claims for name in SWEEPS if name.startswith("alignment_")},
    "language": language_claims,
    "language_examples": example_claims,
    "language_weaker": weaker_claims,
}


class Report(NamedTuple):
    """A finished sweep whose numbers are watched: what claims and documents read of it is noted."""

    name: str
    preset: str
    spec: Any
    origin: dict[str, str]
    watched: Evidence

    def written(self) -> tuple[dict, list[dict]]:
        """(where its numbers come from and its claims, rows of the table of what was read)."""
        about, rows = evidence.table(self.watched)
        claims = evaluate(evidence.build(about, rows), self.name, self.preset)
        command = f"python -m sims.{SWEEPS[self.name].command} --preset {self.preset}"
        start = {"command": command, "seed": self.spec.seed, "replicates": self.spec.replicates}
        return start | self.origin | {"claims": claims} | about | {"config": json.loads(to_json(self.spec))}, rows


def report(store: Path, name: str) -> Report:
    """A finished sweep as evidence, after its claims and the documents have read what they need.

    Raises:
        InputError: if it is no preset, not complete, or made by code with uncommitted changes.
    """
    sweep = SWEEPS[name]
    presets, spec = sweep.presets, read_config(store, sweep.kind)
    preset = next((p for p, known in presets.items() if identity(known) == identity(spec)), None)
    if preset is None:
        raise InputError(f"evidence must come from a preset, but {store} holds another configuration; run a preset.")
    if completed(store, spec) < presets[preset].replicates:
        command = f"python -m sims.{sweep.command} --preset {preset}"
        raise InputError(f"evidence must be complete, but {store} is not; run {command}.")
    data = xr.open_zarr(store, consolidated=False).load()
    origin = {key: data.attrs[key] for key in ("identity", "commit", "device", "versions", "created")}
    for run in (origin, *(run for run, _ in Store.look(store).origins())):
        check_commit(str(store), run.get("commit", "unknown"))
    watched = evidence.watch(data)
    evaluate(watched, name, preset)
    if preset == "quick":  # which the documents are about
        marks.touch(ROOT, Sources(ROOT / "docs" / "results", {name: watched.data}))
    return Report(name, preset, spec, origin, watched)


def reports(results: Path) -> list[Report]:
    """Every sweep of a folder as evidence.

    Raises:
        InputError: if the folder has none, or one of them cannot be evidence.
    """
    found = {name: results / f"{name}.zarr" for name in SWEEPS if (results / f"{name}.zarr").exists()}
    if not found:
        raise InputError(f"--results must hold a store, but {results} has none; run a sweep first.")
    return [report(store, name) for name, store in found.items()]


def write(found: list[Report], out: Path) -> None:
    """Write the table and the claims of every sweep into a folder, and print the claims."""
    for each, (about, rows) in [(each, each.written()) for each in found]:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{each.name}-{each.preset}.json"
        evidence.write(rows, list(about["coordinates"]), path.with_suffix(".csv"))
        path.write_text(json.dumps(about, indent=1) + "\n")
        print(f"{path} and .csv, {len(rows):,} numbers")
        for claim in about["claims"]:
            verdict = "ok  " if claim["holds"] else "FAIL"
            print(f"  {verdict} {claim['claim']}: {claim['value']:.4g} {claim['relation']} {claim['bound']:.4g}")


def evaluate(found: Evidence, name: str, preset: str) -> list[dict]:
    """The claims of a sweep, by the functions that state them; closed forms in double precision."""
    with jax.enable_x64(True):
        claims = list(CLAIMS[name](found.data, SWEEPS[name].presets[preset]))
    return [{**claim._asdict(), "holds": claim.holds()} for claim in claims]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m sims.report", description="Turns finished sweeps into evidence.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the stores")
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="folder of the evidence (default: RESULTS/evidence; with --docs the committed one, docs/results)",
    )
    parser.add_argument("--docs", action="store_true", help="write the tables of all documents from the evidence")
    options = parser.parse_args(argv)
    try:
        if options.docs:
            _documents(options.out or COMMITTED)
        else:
            write(reports(options.results), options.out or options.results / "evidence")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _documents(out: Path) -> None:
    if not out.is_dir():
        raise InputError(f"--out must be the folder of the evidence, but there is none at {out}; write it first.")
    for path, changed, left in marks.refresh(ROOT, Sources(out)):
        print(f"{path.relative_to(ROOT)}: {'written' if changed else 'up to date'}")
        for call, missing in left:
            print(f"  left as it is: {call} ({missing} is not there)")


if __name__ == "__main__":
    sys.exit(main())
