"""Everything that runs long or touches disk."""
