"""Which stored tensors make up each parameter of a `LanguageModel`, and the model made of them.

A checkpoint stores the matrix of a linear layer as [out, in], one for each of queries, keys, values, gate and up, layer
by layer. Here it is [in, out], with queries, keys and values joined, gate and up joined, and all layers stacked.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import nnx

from w2s_jax.checkpoints.layout import Layout, Naming
from w2s_jax.transformer import LanguageModel, blank_model


class Piece(NamedTuple):
    """A stored tensor, or one of each layer."""

    folder: str
    gguf: str
    rows: int
    """Outputs of the layer."""


class Parameter(NamedTuple):
    """A parameter of the model, and the tensors that it is joined from."""

    path: str
    """In the state of the module, with dots."""
    pieces: tuple[Piece, ...]
    inputs: int | None
    """Columns of the stored matrices; None: they are vectors."""
    layers: int | None = None
    """Length of its leading axis; None: it belongs to no block."""
    turned: bool = True
    """Whether the stored matrix is transposed."""

    def names(self, naming: Naming) -> Iterator[tuple[int, list[str]]]:
        """The names of its tensors, for each layer."""
        for layer in range(self.layers or 1):
            prefix = {"folder": f"model.layers.{layer}.", "gguf": f"blk.{layer}."}[naming] if self.layers else ""
            yield layer, [prefix + getattr(piece, naming) for piece in self.pieces]

    def stored_shape(self, piece: Piece) -> tuple[int, ...]:
        """The shape in which a piece of it is stored."""
        return (piece.rows,) if self.inputs is None else (piece.rows, self.inputs)


def parameters(layout: Layout) -> tuple[Parameter, ...]:
    """All parameters of a model."""
    config = layout.config
    width, hidden, layers = config.width, config.hidden, config.num_layers
    queries, keys = config.num_heads * config.head_dim, (config.num_kv_heads or config.num_heads) * config.head_dim

    def block(path: str, inputs: int | None, *pieces: tuple[str, str, int]) -> Parameter:
        return Parameter(f"decoder.blocks.{path}", tuple(Piece(*piece) for piece in pieces), inputs, layers)

    def qkv(kind: str) -> tuple[tuple[str, str, int], ...]:
        rows = {"q": queries, "k": keys, "v": keys}
        return tuple((f"self_attn.{name}_proj.{kind}", f"attn_{name}.{kind}", n) for name, n in rows.items())

    table = [
        Parameter("embedding.embedding", (Piece(*EMBEDDING, layout.vocab_size),), width, turned=False),
        block("attention_norm.scale", None, ("input_layernorm.weight", "attn_norm.weight", width)),
        block("qkv.kernel", width, *qkv("weight")),
        block("attention_out.kernel", queries, ("self_attn.o_proj.weight", "attn_output.weight", width)),
        block("mlp_norm.scale", None, ("post_attention_layernorm.weight", "ffn_norm.weight", width)),
        block(
            "mlp_in.kernel",
            width,
            ("mlp.gate_proj.weight", "ffn_gate.weight", hidden),
            ("mlp.up_proj.weight", "ffn_up.weight", hidden),
        ),
        block("mlp_out.kernel", hidden, ("mlp.down_proj.weight", "ffn_down.weight", width)),
        Parameter("decoder.norm.scale", (Piece("model.norm.weight", "output_norm.weight", width),), None),
    ]
    if config.qkv_bias:
        table.append(block("qkv.bias", None, *qkv("bias")))
    if config.qk_norm:
        table.append(
            block("query_norm.scale", None, ("self_attn.q_norm.weight", "attn_q_norm.weight", config.head_dim))
        )
        table.append(block("key_norm.scale", None, ("self_attn.k_norm.weight", "attn_k_norm.weight", config.head_dim)))
    if not layout.tied:
        table.append(Parameter("head.kernel", (Piece(*HEAD, layout.vocab_size),), width))
    return tuple(table)


EMBEDDING = ("model.embed_tokens.weight", "token_embd.weight")
HEAD = ("lm_head.weight", "output.weight")
"""Names of the embedding and of the head, in a folder and in a GGUF file."""
IGNORED = ("rotary_emb.inv_freq", "rope_freqs.weight")
"""Ends of the names of tensors that hold what the config says too."""


@runtime_checkable
class Weights(Protocol):
    """Tensors on disk."""

    naming: Naming
    where: str
    """What an error calls them."""
    shapes: dict[str, tuple[int, ...]]
    """The shape of every tensor, by its name."""

    def read(self, name: str) -> np.ndarray:
        """One tensor, as numbers of any float type."""
        ...


def assemble(layout: Layout, weights: Weights) -> LanguageModel:
    """The model of stored tensors; besides it, at most one parameter is held in memory at a time.

    Raises:
        ValueError: for a tensor that is missing, unknown or of another shape, or that holds NaN or infinity.
    """
    table = parameters(layout)
    _check_names(table, layout, weights)
    graph, state = nnx.split(blank_model(layout.config, layout.vocab_size, tied_head=layout.tied))
    by_path = {parameter.path: parameter for parameter in table}

    def fill(path, variable):
        return variable.replace(jnp.asarray(_read(by_path[_dotted(path)], layout, weights)))

    return nnx.merge(graph, nnx.map_state(fill, state))


def take_apart(layout: Layout, model: LanguageModel) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a model as a Hugging Face folder holds them: (name, contiguous array)."""
    state = {_dotted(path): variable for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param))}
    for parameter in parameters(layout):
        whole = np.asarray(state[parameter.path][...])
        ends = np.cumsum([piece.rows for piece in parameter.pieces])[:-1]
        for layer, names in parameter.names("folder"):
            value = whole[layer] if parameter.layers else whole
            value = value.T if parameter.turned else value
            for name, part in zip(names, np.split(value, ends)):
                yield name, np.ascontiguousarray(part)


def _check_names(table: tuple[Parameter, ...], layout: Layout, weights: Weights) -> None:
    wanted = {
        name: parameter.stored_shape(piece)
        for parameter in table
        for _, names in parameter.names(weights.naming)
        for name, piece in zip(names, parameter.pieces)
    }
    for name, shape in wanted.items():
        if name not in weights.shapes:
            raise ValueError(f"{weights.where} has no tensor {name}, which should have shape {_axes(shape)}.")
        if weights.shapes[name] != shape:
            found = _axes(weights.shapes[name])
            raise ValueError(f"tensor {name} of {weights.where} must have shape {_axes(shape)}, got {found}.")
    spare = {name for name in weights.shapes if name.endswith(IGNORED) or (layout.tied and name in HEAD)}
    if unknown := sorted(set(weights.shapes) - set(wanted) - spare):
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ValueError(
            f"{weights.where} has tensors that this family has not: {unknown[0]}{more}; such a model is not supported."
        )


def _read(parameter: Parameter, layout: Layout, weights: Weights) -> np.ndarray:
    """A parameter, joined and stacked."""
    outputs = sum(piece.rows for piece in parameter.pieces)
    shape = (outputs,) if parameter.inputs is None else (outputs, parameter.inputs)
    whole = np.empty((parameter.layers or 1, *shape[:: -1 if parameter.turned else 1]), layout.config.param_dtype)
    for layer, names in parameter.names(weights.naming):
        into, start = (whole[layer].T if parameter.turned else whole[layer]), 0
        for name, piece in zip(names, parameter.pieces):
            part = weights.read(name)
            if not np.isfinite(part).all():
                raise ValueError(f"tensor {name} of {weights.where} holds NaN or infinity; the file is damaged.")
            into[start : start + piece.rows] = part
            start += piece.rows
    return whole if parameter.layers else whole[0]


def _dotted(path: tuple) -> str:
    return ".".join(map(str, path))


def _axes(shape: tuple[int, ...]) -> str:
    return f"[{' '.join(map(str, shape))}]"
