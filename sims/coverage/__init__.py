"""How often intervals contain the true value, over many sweeps."""
