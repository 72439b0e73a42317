"""From a user's numbers to what the theory predicts for them: which method wins, by how much, and what would change it.

`question` checks the numbers and turns measured accuracies into a task, `forms` evaluates the closed forms in compiled
programs, and `plan` says what they mean. How to use it: docs/planning.md.
"""
