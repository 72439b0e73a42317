"""The benchmark of methods: its rows, the ratio that they hold, and what it refuses."""

import json

import pytest

from benchmarks import devices, methods
from benchmarks.timing import Timing
from sims.methods.spec import presets, supporting
from w2s_jax.methods import LABELS

MACHINE = devices.Machine("2 cores of a processor", 2, 0, "0123456789ab", {"jax": "1.2.3"})


def timing(seconds: float, units: int) -> Timing:
    return Timing((seconds, 2 * seconds, seconds / 2, seconds, seconds), units, 3.0, 100.0, 1.0)


def test_rows_are_of_every_method_and_ratios_of_times_per_fit(monkeypatch, tmp_path, capsys):
    """A run is as long as the place of its method; naive fine-tuning beside it takes half of the time."""

    def measure(function, *args, **options):
        if function is devices.machine:
            return MACHINE
        assert function is methods.time_here and options["cores"] == 1
        places = range(1, 1 + len(args[1]))
        return [(timing(0.1 * place, 2 * place), timing(0.1 * place, 4 * place)) for place in places]

    monkeypatch.setattr(methods, "in_fresh_process", measure)
    path = tmp_path / "cost.json"
    assert methods.main(["--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    assert [(row["labels"], row["method"]) for row in rows] == [
        (kind, name) for kind in LABELS for name in supporting(kind)
    ]
    for row in rows:
        assert row["seconds_per_fit"] == pytest.approx(0.1 / 2 / methods.TASKS)  # units make up for slowness
        assert row["ratio_to_naive_ft"] == pytest.approx(1.0 if row["method"] == "naive_ft" else 2.0)
        assert row["compile_seconds"] > 2 and row["repeats"] == 5
        assert MACHINE.origin(0).items() <= row.items()
    assert "one core of: 2 cores of a processor; 256 tasks side by side; medians of 5" in capsys.readouterr().out


def test_one_busy_turn_does_not_move_a_ratio():
    calm = timing(1.0, 4)
    for rival in (calm, calm._replace(seconds=(1.0, 2.0, 50.0, 1.0, 1.0))):
        row = methods.row_of("sign", "experts", 10, timing(3.0, 2), rival, MACHINE)
        assert row["ratio_to_naive_ft"] == pytest.approx(6.0)
        assert row["seconds"] == pytest.approx([0.15, 0.3, 0.075, 0.15, 0.15])


@pytest.mark.slow
def test_methods_are_timed_as_the_arena_runs_them():
    views = methods.draw_views(presets("sign")["smoke"], 3)
    assert views.features.shape == (3, 48, 6) and views.weak_log_odds is not None
    found = methods.in_fresh_process(methods.time_here, "sign", ["naive_ft", "source"], 4, 5, 0.01, cores=1)
    assert len(found) == 2 and all(min(one.seconds) > 0 for both in found for one in both)
    assert all(rival.compile_seconds < 0.2 for _, rival in found)  # it was ready
