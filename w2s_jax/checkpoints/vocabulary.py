"""The tokenizer that the vocabulary of a GGUF file describes.

The file has the tokens, the merges of byte-pair encoding and the name of the rule that splits a text beforehand. Rules
are those of the models' own tokenizer.json; `default` is llama.cpp's.

References: github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp.
"""

from typing import Any

from w2s_jax.checkpoints.extra import need
from w2s_jax.checkpoints.gguf_file import GGUFFile
from w2s_jax.checkpoints.tokenizer import Tokenizer

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LINES = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{LINES}"
QWEN2 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{LINES}"
SPLITS: dict[str, tuple[str, ...]] = {
    "gpt-2": (GPT2,),
    "smollm": (r"\p{N}", GPT2),
    "llama-bpe": (LLAMA3,),
    "qwen2": (QWEN2,),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
}
"""Expressions that split a text, one after another, by the name of the rule."""
CONTROL, USER_DEFINED = 3, 4
"""Types of tokens that are found in a text before anything else; those of control are special."""
ROLES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


def read_vocabulary(file: GGUFFile) -> Tokenizer:
    """The tokenizer of a GGUF file.

    Raises:
        ValueError: for another kind than byte-pair encoding of bytes, a rule that is not in `SPLITS`, or a vocabulary
            that is damaged.
    """
    table = {name.removeprefix("tokenizer.ggml."): value for name, value in file.metadata.items()}
    if table.get("model") != "gpt2":
        raise ValueError(
            f"{file.where} has a tokenizer of kind {table.get('model')!r}; only byte-pair encoding (gpt2) can be read "
            "from a GGUF file: take the model's Hugging Face folder."
        )
    rule = table.get("pre")
    if rule not in SPLITS:
        raise ValueError(
            f"{file.where} splits text by the rule {rule!r}, which is not known; known are {', '.join(SPLITS)}: take "
            "the model's Hugging Face folder."
        )
    tokens, kinds = table.get("tokens", []), table.get("token_type", [])
    ids = {role: table[f"{name}_token_id"] for name, role in ROLES.items() if f"{name}_token_id" in table}
    stop = [table[name] for name in ("eos_token_id", "eot_token_id", "eom_token_id") if name in table]
    if (
        not tokens
        or len(kinds) not in (0, len(tokens))
        or not all(0 <= i < len(tokens) for i in (*ids.values(), *stop))
    ):
        raise ValueError(f"the vocabulary of {file.where} is damaged; get the file again.")
    start = ids.get("bos_token") if table.get("add_bos_token", rule == "llama-bpe") else None
    try:
        engine = _engine(rule, tokens, [merge.split(" ", 1) for merge in table.get("merges", [])])
    except Exception as error:  # the package raises nothing narrower
        raise ValueError(f"the vocabulary of {file.where} is damaged ({error}); get the file again.") from error
    _add(engine, tokens, kinds, start)
    return Tokenizer(engine, tuple(dict.fromkeys(stop)), {role: tokens[i] for role, i in ids.items()})


def _engine(rule: str, tokens: list[str], merges: list[list[str]]) -> Any:
    package = need("tokenizers")
    split, level = package.pre_tokenizers.Split, package.pre_tokenizers.ByteLevel
    model = package.models.BPE(
        {token: i for i, token in enumerate(tokens)},
        [tuple(merge) for merge in merges],
        ignore_merges=rule == "llama-bpe",  # a word that is a token is one, whatever the merges make of it
    )
    engine = package.Tokenizer(model)
    if rule == "qwen2":
        engine.normalizer = package.normalizers.NFC()
    engine.pre_tokenizer = package.pre_tokenizers.Sequence(
        [
            *(split(package.Regex(expression), "isolated") for expression in SPLITS[rule]),
            level(add_prefix_space=False, use_regex=False),
        ]
    )
    engine.decoder = package.decoders.ByteLevel()
    return engine


def _add(engine: Any, tokens: list[str], kinds: list[int], start: int | None) -> None:
    """Tokens that are found in a text as they are written, and the one that begins it."""
    package = need("tokenizers")
    found = [(token, kind == CONTROL) for token, kind in zip(tokens, kinds) if kind in (CONTROL, USER_DEFINED)]
    engine.add_tokens([package.AddedToken(token, special=special, normalized=False) for token, special in found])
    if start is not None:
        engine.post_processor = package.processors.TemplateProcessing(
            single=f"{tokens[start]} $A", special_tokens=[(tokens[start], start)]
        )
