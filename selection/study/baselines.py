"""Which baselines a study has: those that its file names, or those that its task and size allow.

A baseline is what the winner must beat to be worth having. Nothing here trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from selection.metrics import Task
from selection.study.data_facts import DataFacts

BaselineName = Literal["majority", "mean", "linear", "gradient_boosting"]
LINEAR = "linear"
GRADIENT_BOOSTING = "gradient_boosting"

MOST_ROWS = 100_000
MOST_WORK = 10_000_000  # about ten seconds of one core for each fold
LEAST_ROWS = 5_000  # fewer cost as much: splits are searched in bins, not in rows


def constant_name(task: Task) -> str:
    """Return what the baseline without features is called."""
    return "majority" if task == "classification" else "mean"


def baselines_of(task: Task) -> tuple[str, ...]:
    """Return the names of all baselines of a task."""
    return (constant_name(task), LINEAR, GRADIENT_BOOSTING)


def wanted_baselines(
    asked: Sequence[str] | None, task: Task, facts: DataFacts
) -> tuple[list[str], dict[str, str]]:
    """Return the baselines a study gets, and why others are left out, by name.

    asked is what its file names, None where it names none; then the size of its data decides.
    """
    if asked is not None:
        return [name for name in baselines_of(task) if name in asked], {}
    why = _too_large(facts)
    if not why:
        return list(baselines_of(task)), {}
    hint = "name it in [assessment] baselines to train it"
    return [constant_name(task), LINEAR], {GRADIENT_BOOSTING: f"{why}; {hint}"}


def _too_large(facts: DataFacts) -> str:
    """Say why gradient boosting would take too long; nothing where it would not."""
    if facts.rows > MOST_ROWS:
        return f"{facts.rows:,} rows are more than {MOST_ROWS:,}"
    trees = facts.outputs if facts.outputs > 2 else 1  # in each iteration
    if max(facts.rows, LEAST_ROWS) * facts.inputs * trees <= MOST_WORK:
        return ""
    classes = f" x {facts.outputs} classes" if trees > 1 else ""
    return f"{facts.rows:,} rows x {facts.inputs:,} inputs{classes} would take too long"
