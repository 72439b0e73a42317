"""w2s_jax: weak-to-strong generalization as small, pure JAX kernels."""

from w2s_jax._versions import check_installed

check_installed()

__version__ = "0.1.0"
