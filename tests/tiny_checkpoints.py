"""Tiny random checkpoints of every family, written both as Hugging Face folders and as GGUF files.

Nothing here is shared with the readers: names of GGUF tensors come from the package gguf, the order of its queries and
keys from llama.cpp's converter, the tokenizers are put together as those of the real models are, and `reference_logits`
is plain NumPy.
"""

import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog, isn't it? The others' dogs don't jump; they'll sleep.",
    "In 1984 and 2025 there were 365 days. Größe, naïve, Ελλάδα, Москва, 東京都, العربية, नमस्ते.",
    "def f(x):\n    return x * 2\n\n\nthe the the",
]
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
USER_DEFINED = "<tool>"
TEMPLATE = (
    "{% for message in messages %}\n"
    "    {% if loop.first and messages[0]['role'] != 'system' %}\n"
    "{{ '<|im_start|>system\nBe brief.<|im_end|>' }}\n"
    "    {% endif %}\n"
    "    {% if message['role'] == 'tool' %}\n{{ raise_exception('no tools here') }}{% endif %}\n"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + eos_token }}\n"
    "{% endfor %}\n{% if add_generation_prompt %}\n{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def engine(rule: str) -> tokenizers.Tokenizer:
    """A small byte-pair tokenizer, put together as that of a model whose GGUF file names this rule."""
    return tokenizers.Tokenizer.from_str(_trained(rule))


@functools.cache
def _trained(rule: str) -> str:
    made = tokenizers.Tokenizer(models.BPE(ignore_merges=rule == "llama-bpe"))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = {
        "gpt-2": words,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words]),
        "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), level]),
        "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), level]),
    }[rule]
    if rule == "qwen2":
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=380, initial_alphabet=alphabet, special_tokens=list(CONTROL), show_progress=False
    )
    made.train_from_iterator(CORPUS * 4, trainer)
    made.add_tokens([AddedToken(USER_DEFINED, normalized=False)])
    if rule == "llama-bpe":
        made.post_processor = processors.TemplateProcessing(single=f"{CONTROL[0]} $A", special_tokens=[(CONTROL[0], 0)])
    return made.to_str()


@dataclasses.dataclass
class Tiny:
    """A checkpoint in memory, named as Hugging Face names things."""

    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    engine: tokenizers.Tokenizer
    rule: str


RULES = {"llama": "smollm", "qwen2": "qwen2", "qwen3": "qwen2"}
GGUF_NAMES = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "rope_theta": "rope.freq_base",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
"""What GGUF files call the entries of config.json, after the family."""


def tiny(family: str = "llama", *, tied: bool = True, llama3: bool = False, seed: int = 0) -> Tiny:
    """Random weights of a family: 2 layers, width 32, 4 heads that share 2 keys."""
    rule = "llama-bpe" if llama3 else RULES[family]
    tokenizer = engine(rule)
    vocab = tokenizer.get_vocab_size() + 3  # models have a few rows more than tokens
    head = {"llama": 16 if llama3 else 8, "qwen2": 8, "qwen3": 16}[family]
    config = {
        "architectures": [f"{family.capitalize()}ForCausalLM"],
        "model_type": family,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": head,
        "intermediate_size": 64,
        "hidden_act": "silu",
        "vocab_size": vocab,
        "max_position_embeddings": 131_072 if llama3 else 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0 if llama3 else 100_000.0,
        "rope_scaling": LLAMA3_ROPE if llama3 else None,
        "tie_word_embeddings": tied,
        "eos_token_id": [2, 0],
    }
    rng = np.random.default_rng(seed)

    def matrix(rows, columns):
        return rng.normal(size=(rows, columns)).astype(np.float32) * np.float32(2 * columns**-0.5)

    def vector(size, mean):
        return (mean + 0.3 * rng.normal(size=size)).astype(np.float32)

    tensors = {"model.embed_tokens.weight": matrix(vocab, 32), "model.norm.weight": vector(32, 1)}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        tensors[prefix + "input_layernorm.weight"] = vector(32, 1)
        tensors[prefix + "post_attention_layernorm.weight"] = vector(32, 1)
        for name, heads in {"q": 4, "k": 2, "v": 2}.items():
            tensors[f"{prefix}self_attn.{name}_proj.weight"] = matrix(heads * head, 32)
            if family == "qwen2":
                tensors[f"{prefix}self_attn.{name}_proj.bias"] = vector(heads * head, 0)
            if family == "qwen3" and name != "v":
                tensors[f"{prefix}self_attn.{name}_norm.weight"] = vector(head, 1)
        tensors[prefix + "self_attn.o_proj.weight"] = matrix(32, 4 * head)
        tensors[prefix + "mlp.gate_proj.weight"] = matrix(64, 32)
        tensors[prefix + "mlp.up_proj.weight"] = matrix(64, 32)
        tensors[prefix + "mlp.down_proj.weight"] = matrix(32, 64)
    if not tied:
        tensors["lm_head.weight"] = matrix(vocab, 32)
    return Tiny(config, tensors, tokenizer, rule)


def write_folder(folder: Path, made: Tiny, config: dict[str, Any] | None = None, *, shards: int = 1) -> Path:
    """A Hugging Face folder; `config` changes entries of config.json."""
    folder.mkdir(parents=True)
    table = {key: value for key, value in {**made.config, **(config or {})}.items() if value != "left out"}
    (folder / "config.json").write_text(json.dumps(table))
    names = sorted(made.tensors)
    if shards == 1:
        save_file(made.tensors, folder / "model.safetensors")
    else:
        place = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(names)}
        for file in set(place.values()):
            save_file({name: made.tensors[name] for name in names if place[name] == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    made.engine.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": {"content": CONTROL[0], "special": True}, "eos_token": CONTROL[2]}
    (folder / "tokenizer_config.json").write_text(json.dumps({**tokens, "chat_template": TEMPLATE}))
    return folder


def write_gguf(
    path: Path,
    made: Tiny,
    metadata: dict[str, Any] | None = None,
    *,
    kinds: dict[str, gguf.GGMLQuantizationType] | None = None,
    rope_factors: np.ndarray | None = None,
) -> Path:
    """A GGUF file; `metadata` changes entries, `kinds` quantises by ends of names, `rope_factors` replace its own."""
    config, family = made.config, made.config["model_type"]
    vocabulary = made.engine.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = json.loads(made.engine.to_str())["model"]["merges"]
    sizes = ("attention.key_length", "attention.value_length", "rope.dimension_count")
    values = {
        **{f"{family}.{name}": config[own] for own, name in GGUF_NAMES.items()},
        **{f"{family}.{name}": config["head_dim"] for name in sizes},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": made.rule,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if t in CONTROL else 4 if t == USER_DEFINED else 1 for t in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.eot_token_id": 0,
        "tokenizer.chat_template": TEMPLATE,
    } | (metadata or {})
    architecture = values.pop("general.architecture", family)
    writer = gguf.GGUFWriter(path, architecture)
    add = {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32, list: writer.add_array}
    for key, value in values.items():
        add[type(value)](key, value)
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == family)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for name, value in sorted(made.tensors.items()):
        if family == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            value = value[converted_order(heads, value.shape[0])]
        stored = names.get_name(name, (".weight", ".bias"))
        assert stored is not None
        kind = next((kind for end, kind in (kinds or {}).items() if name.endswith(end)), gguf.GGMLQuantizationType.F32)
        writer.add_tensor(stored, gguf.quantize(np.ascontiguousarray(value), kind), raw_dtype=kind)
    if config["rope_scaling"] is not None:
        factors = llama3_factors(config) if rope_factors is None else rope_factors
        writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def converted_order(heads: int, rows: int) -> np.ndarray:
    """Which row of a Llama's queries or keys stands where in a GGUF file: as llama.cpp's converter permutes them."""
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)


def read_llama_gguf(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """config.json and tensors of a Llama in a GGUF file, by the package's own reader and table of names."""
    reader = gguf.GGUFReader(path)
    named = {**GGUF_NAMES, "vocab_size": "vocab_size"}
    config = {own: reader.fields[f"llama.{name}"].contents() for own, name in named.items()}
    config["tie_word_embeddings"] = True
    stored = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    layer = ["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"]
    wanted = ["model.embed_tokens.weight", "model.norm.weight"]
    for i in range(config["num_hidden_layers"]):
        wanted += [f"model.layers.{i}.{name}_proj.weight" for name in layer]
        wanted += [f"model.layers.{i}.{name}_layernorm.weight" for name in ("input", "post_attention")]
    tensors = {}
    for name in wanted:
        value = stored.pop(names.get_name(name, (".weight",)))
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            value = value[np.argsort(converted_order(heads, value.shape[0]))]
        tensors[name] = value
    assert not stored
    return config, tensors


def llama3_factors(config: dict[str, Any]) -> np.ndarray:
    """By how much each wavelength of rotary positions is stretched, for Llama 3: as llama.cpp's converter has it."""
    rope, half = config["rope_scaling"], config["head_dim"] // 2
    original, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
    factors = []
    for i in range(half):
        wavelength = 2 * np.pi * config["rope_theta"] ** (i / half)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(rope["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors)


def wave_numbers(config: dict[str, Any]) -> np.ndarray:
    """The angle by which each pair of a head is turned from one place to the next."""
    half = config["head_dim"] // 2
    return config["rope_theta"] ** (-np.arange(half) / half) / (llama3_factors(config) if config["rope_scaling"] else 1)


def reference_logits(config: dict[str, Any], tensors: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """Logits `[L vocab]` of a row of tokens, in float64 NumPy."""
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    head, half, length = config["head_dim"], config["head_dim"] // 2, len(ids)

    def norm(x, scale):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * scale

    angles = np.arange(length)[:, None] * wave_numbers(config)

    def rotated(x):  # [L, head]
        first, second = x[:, :half], x[:, half:]
        cos, sin = np.cos(angles), np.sin(angles)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)

    x = t["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        h = norm(x, t[p + "input_layernorm.weight"])
        q, k, v = (h @ t[f"{p}self_attn.{n}_proj.weight"].T + t.get(f"{p}self_attn.{n}_proj.bias", 0.0) for n in "qkv")
        outputs = []
        for i in range(config["num_attention_heads"]):
            j = i * config["num_key_value_heads"] // config["num_attention_heads"]
            own = [q[:, i * head : (i + 1) * head], k[:, j * head : (j + 1) * head]]
            if p + "self_attn.q_norm.weight" in t:
                own = [norm(y, t[f"{p}self_attn.{n}_norm.weight"]) for y, n in zip(own, "qk")]
            scores = rotated(own[0]) @ rotated(own[1]).T / np.sqrt(head)
            scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            outputs.append(weights / weights.sum(-1, keepdims=True) @ v[:, j * head : (j + 1) * head])
        x = x + np.concatenate(outputs, -1) @ t[p + "self_attn.o_proj.weight"].T
        h = norm(x, t[p + "post_attention_layernorm.weight"])
        gate, up = h @ t[p + "mlp.gate_proj.weight"].T, h @ t[p + "mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ t[p + "mlp.down_proj.weight"].T
    table = t["model.embed_tokens.weight"] if config["tie_word_embeddings"] else t["lm_head.weight"]
    return norm(x, t["model.norm.weight"]) @ table.T


def mixed_lines(count: int, seed: int = 0) -> list[str]:
    """Lines of mixed text: words, digits, blanks of all kinds, many scripts, marks, emoji, special tokens."""
    rng = np.random.default_rng(seed)
    latin = ((32, 127), (48, 58), (97, 123), (97, 123), (160, 256), (0x100, 0x250), (0x300, 0x370))
    scripts = ((0x370, 0x400), (0x400, 0x500), (0x590, 0x700), (0x900, 0x980), (0xE00, 0xE80))
    signs = ((0x2000, 0x2070), (0x2150, 0x2190), (0x3000, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3))
    ranges = [*latin, *scripts, *signs, (0xFF00, 0xFFEF), (0x1F300, 0x1F650), (0x1D400, 0x1D7FF)]
    blanks = (" ", "  ", "\t", "\n", "\r\n", "\n\n ")
    fixed = [*blanks, "'s", "'LL", "don't", " the", "The", "1234567", *CONTROL, USER_DEFINED]

    def piece():
        if rng.random() < 0.4:
            return fixed[rng.integers(len(fixed))]
        low, high = ranges[rng.integers(len(ranges))]
        return "".join(chr(c) for c in rng.integers(low, high, rng.integers(1, 6)))

    return ["".join(piece() for _ in range(rng.integers(1, 16))) for _ in range(count)]


if __name__ == "__main__":
    write_gguf(Path(sys.argv[1]), tiny(), metadata={"llama.context_length": 1024})
