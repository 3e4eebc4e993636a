"""Samplers and pruners. What they decide depends only on finished trials."""

from selection.search.cohort_pruner import CohortPruner
from selection.search.history import History, shared_start
from selection.search.proposals import propose
from selection.search.proposer import Proposer
from selection.search.replay import judged_epochs, replay_pruner

__all__ = [
    "CohortPruner",
    "History",
    "Proposer",
    "judged_epochs",
    "propose",
    "replay_pruner",
    "shared_start",
]
