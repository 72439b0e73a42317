"""The parts of `python -m sims.alignment`: strong and weak models in a world of tokens."""
