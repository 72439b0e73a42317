"""Alignment in miniature: worlds of questions and ways of answering, small enough that content and style are computed.

`world.py` says what a world is; `persona.py`, `explanation.py`, `math.py` and `bias.py` make one each, and `worlds.py`
lists them. Import it as `from w2s_jax import alignment`.
"""

from w2s_jax.alignment.world import World
from w2s_jax.alignment.worlds import WORLDS, make_world

__all__ = ["WORLDS", "World", "make_world"]
