"""The parts of `python -m sims.methods`: published methods on the same tasks, from the same draws."""
