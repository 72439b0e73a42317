"""The parts of `python -m sims.risk_sweep`: every method on every cell of a grid."""
