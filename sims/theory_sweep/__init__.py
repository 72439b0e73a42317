"""The parts of `python -m sims.theory_sweep`: one study for each closed form."""
