"""What a kernel accepts: its arguments are checked, and brought to one floating type, as its annotations say.

`@kernel` reads the annotations of a function once. Shapes are checked always, values where they are known: a Python
number, a NumPy number and a concrete jax array alike; of a traced value the valid range is documented. All of it
happens while Python runs, so that a compiled program holds none of it.

**One floating type a call.** Arrays with axes decide: a call computes, draws and answers in the widest floating type
among them. Everything else follows: scalars, Python numbers, lists, integers and booleans. Where no array brings a
type it is jax's default: float32, or float64 under `jax_enable_x64`. `make_task` and `random_task` always answer in
the default.

**One set of manual axes a call.** Inside `jax.shard_map` some arguments may vary over an axis of the mesh and others
not. A loop refuses to mix them, so all are made to vary alike; elsewhere this does nothing.
"""

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from w2s_jax.types import Key, Scalar, known

Function = TypeVar("Function", bound=Callable)

MEANING = {"n": "examples", "d": "features", "K": "concepts"}


def kernel(function: Function) -> Function:
    """Check the arguments of a kernel, and bring them to one floating type, by its annotations.

    - `Float[Array, "n d"]`: arrays, lists and anything that NumPy reads; a name stands for one size in a whole call,
      `...` and a starred name for any axes.
    - a NamedTuple of such fields (`Task`, `Dataset`, `Moments`, `Design`): its fields likewise, without batch axes.
    - `Scalar`: shape `[]`; known values arrive in the function as Python numbers, so that it can check their range.
    - `int`, `tuple[int, ...]`: static whole numbers. `Key`: one typed key. Anything else passes as it is.

    Raises:
        ValueError: when the kernel is called with a value of another shape or kind.

    >>> from jaxtyping import Array, Float
    >>> @kernel
    ... def mean_label(features: Float[Array, "n d"], labels: Float[Array, "n"]):
    ...     return labels.mean()
    >>> float(mean_label([[1, 0], [0, 1]], [1, 2]))
    1.5
    >>> mean_label(np.eye(2), np.ones((2, 1)))
    Traceback (most recent call last):
        ...
    ValueError: labels must have shape [n] with n = 2 (examples, as in features), got [2 1]; drop its last axis.
    """

    @functools.wraps(function)
    def checked(*args, **kwargs):
        signature, readers = _plan(function)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python says best what is missing
        call = _Call()
        read = {name: readers[name](call, name, value) for name, value in bound.arguments.items() if name in readers}
        values = vary_alike({name: finish(call.dtype) for name, finish in read.items()})
        bound.arguments |= values
        return function(*bound.args, **bound.kwargs)

    checked.__dict__["is_kernel"] = True  # the contract tests list all that are
    return typing.cast(Function, checked)


def vary_alike(tree):
    """The same arrays, each varying over all manual axes of a `shard_map` over which any of them does."""
    axes = frozenset().union(*(_manual_axes(leaf) for leaf in jax.tree.leaves(tree)))
    if not axes:
        return tree

    def vary(leaf):
        missing = tuple(axes - _manual_axes(leaf)) if isinstance(leaf, jax.Array) else ()
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, tree)


def _manual_axes(leaf) -> frozenset:
    if not isinstance(leaf, Tracer):
        return frozenset()
    kind = jax.typeof(leaf)
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma  # jax 0.12, 0.9


Finish = Callable[[Any], Any]
"""From the floating type of the call to the value that the function gets."""


class _Call:
    """What the arguments of one call share: the sizes of named axes, and the floating type."""

    def __init__(self) -> None:
        self.sizes: dict[str, tuple[int, str]] = {}
        self._decide: list = []
        self._follow: list = []

    def add_type(self, array) -> None:
        if jnp.issubdtype(array.dtype, jnp.floating) and not getattr(array, "weak_type", False):
            (self._decide if array.ndim else self._follow).append(array.dtype)

    @property
    def dtype(self):
        # float64 is float32 without x64. Not `jnp.result_type`, which warns there, and under strict promotion raises.
        found = [jax.dtypes.canonicalize_dtype(dtype) for dtype in self._decide or self._follow or [float]]
        return max(found, key=lambda dtype: jnp.finfo(dtype).bits)


@functools.cache
def _plan(function) -> tuple[inspect.Signature, dict[str, Callable[[_Call, str, Any], Finish]]]:
    readers = {name: _reader(hint) for name, hint in typing.get_type_hints(function).items() if name != "return"}
    return inspect.signature(function), {name: reader for name, reader in readers.items() if reader}


def _reader(hint) -> Callable[[_Call, str, Any], Finish] | None:
    """How an argument of this annotation is read; None if it is not."""
    if hint == Key:
        return _read_key
    if hint is int:
        return _read_int
    if typing.get_origin(hint) is tuple and typing.get_args(hint) == (int, ...):
        return _read_ints
    members = set(typing.get_args(hint)) if typing.get_origin(hint) in (typing.Union, types.UnionType) else {hint}
    if type(None) in members:
        rest = functools.reduce(operator.or_, (member for member in typing.get_args(hint) if member is not type(None)))
        reader = _reader(rest)
        return reader and (lambda call, name, value: (lambda _: None) if value is None else reader(call, name, value))
    if members >= set(typing.get_args(Scalar)):
        return _read_scalar
    if hasattr(hint, "_fields"):
        return functools.partial(_read_container, hint)
    array = next((member for member in members if hasattr(member, "dim_str")), None)
    if array is None or int in members:
        return None
    return functools.partial(_read_array, array.dim_str, not any(name.startswith("float") for name in array.dtypes))


def _read_array(dims: str, integer: bool, call: _Call, name: str, value) -> Finish:
    array = _as_array(name, value)
    _check_shape(call, name, dims, array.shape)
    if integer:
        return lambda _: jnp.asarray(array)
    if hasattr(value, "dtype"):
        call.add_type(array)
    if isinstance(array, jax.Array):
        return lambda dtype: array.astype(dtype)
    return lambda dtype: jnp.asarray(array.astype(dtype))


def _as_array(name: str, value):
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise ValueError(f"{name} must be an array of numbers, got {_shown(value)}; give it as one NumPy or jax array.")
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be real, got {array.dtype}; take its real part.")
    return array


def _read_container(container, call: _Call, name: str, value) -> Finish:
    if not isinstance(value, container):
        fields = ", ".join(container._fields)
        raise ValueError(f"{name} must be a {container.__name__}, got {_shown(value)}; make one of {fields}.")
    # Batch axes are the caller's `vmap`; inside, a container holds one thing.
    read = [
        _read_array(dims.removeprefix("*b").strip(), False, call, f"{name}.{field}", item)
        if item is not None
        else lambda _: None  # a field that its maker hides
        for (field, dims), item in zip(_fields(container), value)
    ]
    return lambda dtype: container(*(finish(dtype) for finish in read))


@functools.cache
def _fields(container) -> list[tuple[str, str]]:
    return [(field, hint.dim_str) for field, hint in typing.get_type_hints(container).items()]


def _read_scalar(call: _Call, name: str, value) -> Finish:
    number = known(_as_array(name, value)) if np.ndim(value) == 0 else None
    _check_shape(call, name, "", np.shape(value))
    return (lambda dtype: value.astype(dtype)) if number is None else (lambda _: number)


def _read_int(call: _Call, name: str, value) -> Finish:
    try:
        number = operator.index(value)
    except jax.errors.JAXTypeError:
        raise ValueError(
            f"{name} is static and must be a Python integer, got a traced value; make it one of jit's static arguments."
        ) from None
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {_shown(value)}; write it without a point.") from None
    return lambda _: number


def _read_ints(call: _Call, name: str, value) -> Finish:
    if np.ndim(value) != 1:
        raise ValueError(f"{name} must be a tuple of integers, got {_shown(value)}; for one value write (value,).")
    numbers = tuple(_read_int(call, name, item)(None) for item in value)
    return lambda _: numbers


def _read_key(call: _Call, name: str, value) -> Finish:
    if not (isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"{name} must be a typed key, got {_shown(value)}; make one by jax.random.key(seed).")
    if value.shape:
        raise ValueError(f"{name} must be one key, got an array of shape {_axes(value.shape)}; for several use vmap.")
    return lambda _: value


def _check_shape(call: _Call, name: str, dims: str, shape: tuple[int, ...]) -> None:
    """Refuse a shape that its dims, or what another argument has said of them, do not allow."""
    wanted = dims.split()
    open_ended = bool(wanted) and (wanted[0] == "..." or wanted[0].startswith("*"))
    fixed = wanted[open_ended:]
    given = shape[len(shape) - len(fixed) :] if open_ended else shape
    sizes = {dim: call.sizes[dim] for dim in fixed if dim in call.sizes}
    fits = len(given) == len(fixed)
    for dim, size in zip(fixed, given) if fits else ():
        if dim.isidentifier():
            fits &= sizes.setdefault(dim, (size, name))[0] == size
    if fits:
        call.sizes |= sizes
        return
    known_sizes = [
        f"{dim} = {size} ({MEANING.get(dim, 'its size')}, as in {place})"
        for dim, (size, place) in sizes.items()
        if place != name
    ]
    rule = f"{name} must {'be a scalar' if not wanted else f'have shape [{dims}]'}"
    rule += f" with {' and '.join(known_sizes)}" if known_sizes else ""
    if len(shape) == len(wanted) + 1 and wanted and shape[-1] == 1:
        advice = "drop its last axis"
    elif len(shape) > len(wanted) and not open_ended:
        advice = "for several at once use jax.vmap"
    else:
        advice = "make their sizes agree"
    raise ValueError(f"{rule}, got {_axes(shape)}; {advice}.")


def _axes(shape: tuple[int, ...]) -> str:
    return f"[{' '.join(map(str, shape))}]"


def _shown(value) -> str:
    if isinstance(value, Tracer):
        return f"a traced {value.aval.str_short()}"
    text = repr(value)
    return f"{text} ({type(value).__name__})" if len(text) <= 40 else f"a {type(value).__name__}"
