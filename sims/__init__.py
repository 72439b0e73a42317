"""Everything that runs long or touches disk."""

import os

# Small batched problems run far faster on single-threaded LAPACK, and it reads this when jax first loads it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
