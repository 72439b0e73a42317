"""Parts of `python -m sims.methods`: every published method on the same tasks, with the same draws."""
