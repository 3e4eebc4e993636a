"""A page of the trials of a study, sorted and filtered as a reader asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from selection.report.cells import finite_mean
from selection.report.study_view import StudyView
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState, Value

ROWS = 50
RANK = "rank"


@dataclass(frozen=True)
class Order:
    """Say which trials a reader wants to see, and in which order; pages are counted from 1."""

    sort: str = RANK
    is_descending: bool = False
    state: TrialState | None = None
    page: int = 1


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Hold one page of trials; rank is by observed mean, from 1, and None unless complete."""

    order: Order
    rows: Sequence[tuple[int | None, Trial]]
    count: int
    pages: int


def leaderboard(view: StudyView, order: Order, rows: int = ROWS) -> Leaderboard:
    """Return the page asked for, or the nearest one where there is no such page."""
    indices = {trial.number: index for index, trial in enumerate(view.ranked, start=1)}
    chosen = [trial for trial in view.trials if order.state in (None, trial.state)]
    if order.sort == RANK:
        chosen.sort(key=lambda trial: -trial.epochs)
        chosen = _sorted(chosen, lambda trial: indices.get(trial.number), order.is_descending)
    else:
        chosen = _sorted(chosen, _KEYS.get(order.sort) or _param(order.sort), order.is_descending)
    pages = max(math.ceil(len(chosen) / rows), 1)
    page = min(max(order.page, 1), pages)
    shown = chosen[(page - 1) * rows : page * rows]
    return Leaderboard(
        order=Order(order.sort, order.is_descending, order.state, page),
        rows=[(indices.get(trial.number), trial) for trial in shown],
        count=len(chosen),
        pages=pages,
    )


def sortable(spec: StudySpec) -> list[str]:
    """Return the names a leaderboard can be sorted by; a param is named param:NAME."""
    return [RANK, *_KEYS, *(f"param:{name}" for name in spec.space)]


def observed(trial: Trial) -> float | None:
    """Return the mean of the fold scores there are: a pruned trial's is that of its last epoch."""
    if trial.state is TrialState.FAILED:
        return None
    return finite_mean(trial.fold_scores)


def training(trial: Trial) -> float | None:
    """Return the mean training score over folds."""
    return None if trial.state is TrialState.FAILED else finite_mean(trial.train_scores)


def _sorted(
    trials: Sequence[Trial], key: Callable[[Trial], Any], is_descending: bool
) -> list[Trial]:
    """Sort by a key; trials without one come last in either order."""
    known = [trial for trial in trials if key(trial) is not None]
    unknown = [trial for trial in trials if key(trial) is None]
    return sorted(known, key=key, reverse=is_descending) + unknown


def _param(sort: str) -> Callable[[Trial], Any]:
    name = sort.removeprefix("param:")
    return lambda trial: _comparable(trial.params[name])


def _comparable(value: Value) -> tuple[int, Any]:
    """Return a key that orders numbers, lists of them and words, in this order."""
    if isinstance(value, str):
        return (1, value)
    return (0, tuple(value) if isinstance(value, tuple) else (float(value),))


_KEYS: dict[str, Callable[[Trial], Any]] = {
    "number": lambda trial: trial.number,
    "score": observed,
    "train": training,
    "epochs": lambda trial: trial.epochs,
    "state": lambda trial: trial.state.value,
}
