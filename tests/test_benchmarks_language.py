"""The benchmark of a language model: what its contenders compute, and the rows that it makes of timings."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import devices, language, limits
from benchmarks.language import PARTS, Size
from benchmarks.timing import Timing
from tests.tiny_checkpoints import tiny, write_folder
from w2s_jax import checkpoints

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")

IDS = np.random.default_rng(0).integers(10, 200, (2, 6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_folder(tmp_path_factory.mktemp("model") / "tiny", tiny()))


@pytest.fixture
def in_this_process(monkeypatch):
    """Contenders run here, and no machine is measured."""
    monkeypatch.setattr(language, "in_fresh_process", lambda function, *given: function(*given))
    monkeypatch.setattr(devices, "start", lambda number: None)
    monkeypatch.setattr(devices, "machine", lambda: devices.Machine("2 cores", 2, 0, "0123456789ab", {"jax": "1"}))
    matmul = limits.Limit("matmul", 2, 1e9, "flop/s", 1.0, True)
    monkeypatch.setattr(limits, "measured", lambda *_: [matmul])
    monkeypatch.setattr(language, "has_rival", lambda: False)


@pytest.mark.slow
def test_what_is_timed_is_reading_training_and_writing(folder, in_this_process):
    model = checkpoints.load(folder).model
    logits = model(jnp.asarray(IDS))
    calls = {part: language._jax(part, folder, IDS, 3) for part in PARTS}
    np.testing.assert_allclose(calls["prefill"](), logits[:, -1], atol=1e-5)
    written = calls["decoding"]()
    assert written.shape == (2, 3) and written[:, 0].tolist() == logits[:, -1].argmax(-1).tolist()
    trained = calls["training"]()  # the rate of the first step is 0, so its gradients are seen in the moments alone
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(trained.opt_state) if leaf.ndim == 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_rival_reads_and_writes_the_same(folder, in_this_process):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    ours, theirs = ({p: make(p, folder, IDS, 3) for p in PARTS} for make in (language._jax, language._torch))
    np.testing.assert_allclose(ours["prefill"](), theirs["prefill"]()[:, -1], atol=1e-4)
    np.testing.assert_array_equal(ours["decoding"](), theirs["decoding"]()[:, IDS.shape[1] :])
    theirs["training"]()


@pytest.mark.slow
def test_rows_count_the_tokens_of_every_part(folder, in_this_process, monkeypatch, tmp_path):
    timing = Timing((2.0,) * 5, units=4, warmup_seconds=1.5, peak_mb=10.0, cores_used=1.0, others_share=0.0)
    monkeypatch.setattr(language, "measure", lambda repeat, seconds: repeat(1) or timing)
    monkeypatch.setattr(language, "QUICK", Size(rows=2, places=5, written=3))
    assert language.main(["--model", folder, "--quick", "--json", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["part"] for row in rows] == list(PARTS) and {row["contender"] for row in rows} == {"w2s_jax"}
    assert [row["tokens_per_second"] for row in rows] == [2 * 5 * 2, 2 * 5 * 2, 2 * 3 * 2]
    model = checkpoints.load(folder).model
    config = model.config
    blocks, head = rows[0]["block_weights"], rows[0]["head_weights"]
    assert head == config.width * model.embedding.num_embeddings
    assert blocks > config.num_layers * config.width * (config.num_heads + 4)
    products = [2 * (5 * blocks + head), 3 * 2 * 5 * (blocks + head), 2 * ((5 + 3 - 1) * blocks + 3 * head)]
    # Four calls in two seconds, on a machine of 1e9 operations a second; two operations a weight.
    assert [row["fraction_of_matmul"] for row in rows] == pytest.approx([4e-9 * each for each in products])
    assert rows[0]["compile_seconds"] == 1.0 and rows[0]["ratio_to_transformers"] is None


@pytest.mark.parametrize("arguments", [["--model", "nowhere.gguf"], ["--json", "nowhere/rows.json"]])
def test_bad_input_is_one_sentence(arguments, in_this_process, capsys):
    assert language.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")
