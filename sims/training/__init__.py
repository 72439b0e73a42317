"""What the sweeps that train networks share."""
