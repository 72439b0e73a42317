"""The comparison of a user's table of measured accuracies with what theory foretells."""
