"""Figures of the simulator: they draw finished results with their closed forms, and never import `sims`."""
