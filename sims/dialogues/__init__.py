"""The parts of `sims.alignment`: strong and weak models of a small world, labels, fine-tuning, and results."""
