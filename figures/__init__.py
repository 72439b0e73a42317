"""Figures of the simulator: they read finished results, set the closed forms beside them, and never import `sims`."""
