"""Starts the workers of a study and keeps them running."""

# Set for a worker that has a supervisor, which shows the progress in its place.
SUPERVISED_VARIABLE = "SELECTION_SUPERVISED"
# Exit code of such a worker after an unexpected error; its supervisor starts another.
CRASHED = 70
