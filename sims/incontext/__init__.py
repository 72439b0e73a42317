"""The parts of `python -m sims.incontext`: trained networks beside exact Bayes."""
