"""Starts the workers of a study and keeps them running."""

# By this variable a worker knows that it has a supervisor, which shows its progress.
SUPERVISED_VARIABLE = "SELECTION_SUPERVISED"
# How such a worker exits after a bug of ours; its supervisor starts another.
CRASHED = 70
