"""Hyperparameter sweeps and K-fold model selection for MLPs, trained as one packed program."""
