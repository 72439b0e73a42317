"""The parts of `python -m sims.posterior_sweep`: the concept posterior alone."""
