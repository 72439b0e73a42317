"""The comparison of a user's table of measured accuracies with those that theory predicts."""
