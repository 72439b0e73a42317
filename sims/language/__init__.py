"""The parts of `python -m sims.language`: a real language model, asked real questions."""
