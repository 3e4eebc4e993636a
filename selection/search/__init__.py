"""All of Optuna's samplers and pruners. What they decide depends only on finished trials."""

from selection.search.cohort_pruner import CohortPruner
from selection.search.history import History, shared_start
from selection.search.proposals import propose
from selection.search.proposer import Proposer

__all__ = ["CohortPruner", "History", "Proposer", "propose", "shared_start"]
