"""The parts of `python -m sims.incontext`: trained networks compared with exact Bayes."""
