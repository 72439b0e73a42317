"""Choices that have no derivative, and say so.

A comparison, a rank or a count moves in jumps. Differentiated in silence it would give 0, although the mean over draws
does move: a wrong number without an error. What a kernel compares therefore passes through `no_gradient`.
"""

from functools import partial
from typing import TypeVar

import jax
from jax.custom_derivatives import SymbolicZero

Tree = TypeVar("Tree")


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def no_gradient(why: str, values: Tree) -> Tree:
    """The same values; differentiating through them raises. It costs nothing at run time.

    Args:
        why: one sentence: what has no derivative, and what to do.
        values: arrays, or a pytree of them.

    Raises:
        TypeError: with that sentence, while a derivative is traced that depends on the values. Derivatives in what they
            do not depend on are untouched.

    >>> import jax.numpy as jnp
    >>> f = lambda x, y: y * jnp.sign(no_gradient("the sign of x is a jump; differentiate |x|.", x))
    >>> float(jax.grad(f, 1)(2.0, 3.0))
    1.0
    >>> try:
    ...     jax.grad(f)(2.0, 3.0)
    ... except TypeError as error:
    ...     print(str(error).splitlines()[0])
    the sign of x is a jump; differentiate |x|.
    """
    return values


@partial(no_gradient.defjvp, symbolic_zeros=True)
def _refuse(why: str, primals, tangents):
    if not all(isinstance(leaf, SymbolicZero) for leaf in jax.tree.leaves(tangents, is_leaf=_is_zero)):
        raise TypeError(why)
    return primals[0], tangents[0]


def _is_zero(leaf) -> bool:
    return isinstance(leaf, SymbolicZero)
