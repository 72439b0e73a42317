"""Commands: every mistake gets one sentence on stderr and exit code 2, and nothing is written."""

import re
import subprocess
import sys
import time
from unittest.mock import Mock

import pytest

from figures.stores import COMMANDS
from sims import inspect
from sims.engine import arguments, cli, progress
from sims.methods import __main__ as methods
from sims.risk_sweep import __main__ as risk_sweep
from sims.risk_sweep.spec import SweepSpec
from sims.sweeps import SWEEPS
from tests.conftest import ROOT
from tests.test_bad_input import assert_refused
from w2s_jax import names
from w2s_jax.alignment.worlds import WORLDS
from w2s_jax.methods import METHODS

MISTAKES = [
    (["smoke"], "did you mean --preset smoke?"),
    (["results"], "options start with --, got 'results'"),
    (["--preset", "smokey"], "preset must be among smoke, quick, paper; got 'smokey'; did you mean smoke?"),
    (["--replicate", "3"], "there is no option --replicate; did you mean --replicates or"),
    (["--zzz"], "there is no option --zzz; --help lists them."),
    (["--replicates"], "--replicates needs a value, got none"),
    (["--replicates", "10.5"], "--replicates must be a whole number, got '10.5'"),
    (["--noise-var", "x"], "--noise-var must be a number, got 'x'"),
    (["--num-concepts", "2", "4"], "--num-concepts takes one value, got 2 4; run the command once for each"),
    (["--weak-accuracy", "0.5,0.7"], "separated by spaces, got '0.5,0.7'; write --weak-accuracy 0.5 0.7."),
    (["--methods", "naive"], "--methods must be among its names, got 'naive'; did you mean naive_ft?"),
    (["--from", "x.zarr", "--preset", "smoke"], "but both were given (x.zarr, smoke); leave one out"),
    (["--from", "none.zarr"], "--from must name a store, but there is none"),
    (["--sample-size", "100000000", "--devices", "1"], "one teacher and one concept shift must fit"),
    (["--cluster", "yes"], "--cluster takes no value, got 'yes'; write --cluster or --no-cluster."),
    (["--help=all"], "--help takes no value, got 'all'"),
]
MISTAKES_IN_AN_ARENA = [
    (["--list", "--labels", "foo"], "labels must be among linear, sign; got 'foo'"),
    (["--labels", "foo"], "--labels must be among its names, got 'foo'; choose from linear, sign."),
    (["--methods", "control"], "'control' supports python -m sims.alignment alone"),
    (["--sample-size", "4"], "sample_size must be at least 8, got 4"),
]
CASES = [(risk_sweep, *case) for case in MISTAKES] + [(methods, *case) for case in MISTAKES_IN_AN_ARENA]


@pytest.mark.parametrize(("command", "given", "sentence"), CASES, ids=[" ".join(given) for _, given, _ in CASES])
def test_a_mistake_gets_a_sentence(capsys, tmp_path, monkeypatch, command, given, sentence):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, command.main(given), re.escape(sentence))
    assert not list(tmp_path.iterdir())


def test_numbers_options_and_flags_may_be_written_in_several_ways():
    argv = ["--replicates", "1e4", "--seed", "2_0", "--block_size=5", "--no-compilation-cache", "--num-icl", "0", "3"]
    command = cli.parse("risk_sweep", "", risk_sweep.PRESETS, SweepSpec, argv)
    spec = command.spec
    assert (spec.replicates, spec.seed, spec.block_size, spec.num_icl) == (10_000, 20, 5, (0, 3))
    assert not command.compilation_cache
    negative = ["--penalties", "-0.5", "1"]
    assert arguments.checked(negative, arguments.options_of(SweepSpec)) == negative


def test_a_reader_that_stops_early_is_no_error(capfd):
    assert cli.guarded(Mock(side_effect=BrokenPipeError)) == 141
    assert capfd.readouterr().err == ""
    prints = "import sys; from sims.engine import cli; sys.exit(cli.guarded(lambda: print('line\\n' * 100_000) or 0))"
    line = f'{sys.executable} -c "{prints}" | head -1; echo ${{PIPESTATUS[0]}}'
    found = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert (found.stdout, found.stderr) == ("line\n141\n", "")


def test_a_folder_of_stores_is_named_as_one(capsys, tmp_path):
    (tmp_path / "risk_sweep.zarr").mkdir()
    assert_refused(capsys, inspect.main([str(tmp_path)]), r"is a folder of stores: risk_sweep\.zarr; give one of them")


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    with progress.progress("training", 4, "steps  compiling") as update:
        update(3, "steps  loss 0.5")
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith("training: 3 of 4, steps  loss 0.5, 0 min so far") for line in lines)


def test_names_that_commands_read_are_those_of_the_methods_and_worlds():
    assert tuple(METHODS) == names.ARENA_METHODS
    assert tuple(name for name, method in METHODS.items() if method.labels == ("sign",)) == names.SIGN_ONLY
    assert tuple(WORLDS) == names.WORLDS


def test_presets_pass_the_checks_that_commands_put_off():
    for sweep in SWEEPS.values():
        for preset in sweep.presets.values():
            getattr(preset, "check", lambda: None)()


def test_figures_name_the_commands_of_their_sweeps():
    for name in COMMANDS.keys() & SWEEPS.keys():
        command = f"python -m sims.{SWEEPS[name].command} --preset quick --out {{folder}}"
        assert sorted(COMMANDS[name].split()) == sorted(command.split()), name
