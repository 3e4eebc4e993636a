"""The local server: Optuna Dashboard on our database, and our pages beside it."""
