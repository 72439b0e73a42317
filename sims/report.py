"""Turns finished sweeps into evidence: claims with their numbers, seed, configuration, commit and machine.

    python -m sims.report --results DIR [--out docs/results]

writes DIR's sweeps as `<command>-<preset>.json`. A sweep that is no preset, or not complete, is refused: a claim must
name a command that anyone can run. Tests evaluate every claim again from the numbers, and fail when a preset has
changed since.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import xarray as xr

from sims.arena.claims import arena_claims, sign_claims
from sims.claims import Claim, posterior_claims, risk_claims
from sims.dialogues.claims import alignment_claims
from sims.networks.claims import network_claims
from sims.spec import InputError, identity
from sims.store import completed, read_config
from sims.sweeps import SWEEPS
from sims.theory_claims import theory_claims

CLAIMS: dict[str, Callable[[xr.Dataset, Any], Iterable[Claim]]] = {
    "risk_sweep": risk_claims,
    "theory_sweep": theory_claims,
    "posterior_sweep": posterior_claims,
    "methods": arena_claims,
    "methods_sign": sign_claims,
    "incontext": network_claims,
    **{name: alignment_claims for name in SWEEPS if name.startswith("alignment_")},
}


def report(store: Path, name: str) -> tuple[str, dict]:
    """(preset, evidence) of a finished sweep."""
    sweep = SWEEPS[name]
    presets, spec = sweep.presets, read_config(store, sweep.kind)
    preset = next((p for p, known in presets.items() if identity(known) == identity(spec)), None)
    if preset is None:
        raise InputError(f"evidence must come from a preset, but {store} holds another configuration; run a preset.")
    if completed(store, spec) < presets[preset].replicates:
        raise InputError(
            f"evidence must be complete, but {store} is not; run python -m sims.{sweep.command} --preset {preset}."
        )
    data = xr.open_zarr(store, consolidated=False).load()
    claims = [{**claim._asdict(), "holds": claim.holds()} for claim in CLAIMS[name](data, presets[preset])]
    origin = {key: data.attrs[key] for key in ("identity", "commit", "device", "versions", "created")}
    command = f"python -m sims.{sweep.command} --preset {preset}"
    return preset, {"command": command, "seed": spec.seed, "replicates": spec.replicates, **origin, "claims": claims}


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m sims.report", description="Turns finished sweeps into evidence.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the stores")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the evidence")
    options = parser.parse_args(argv)
    try:
        stores = {name: options.results / f"{name}.zarr" for name in SWEEPS}
        found = {name: store for name, store in stores.items() if store.exists()}
        if not found:
            raise InputError(f"--results must hold a store, but {options.results} has none; run a sweep first.")
        for name, store in found.items():
            preset, evidence = report(store, name)
            options.out.mkdir(parents=True, exist_ok=True)
            path = options.out / f"{name}-{preset}.json"
            path.write_text(json.dumps(evidence, indent=1) + "\n")
            print(path)
            for claim in evidence["claims"]:
                verdict = "ok  " if claim["holds"] else "FAIL"
                print(f"  {verdict} {claim['claim']}: {claim['value']:.4g} {claim['relation']} {claim['bound']:.4g}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
