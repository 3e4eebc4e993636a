"""Decides which trials of a cohort are stopped early, with Optuna's pruners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial

from selection.search.history import History
from selection.search.pruners import Rungs, make_pruner
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial


class CohortPruner:
    """Apply Optuna's pruner to the fold means of one cohort, epoch by epoch.

    The trials of a cohort reach every epoch together. The pruner is given the values of all of them
    before it decides on any, so that the order of their numbers does not matter. Trial 0 is never
    pruned: every report compares the winner with the default. A history that is reused for the next
    cohort saves time and changes nothing.
    """

    def __init__(
        self,
        spec: StudySpec,
        finished: Sequence[Trial],
        cohort: Mapping[int, Params],
        history: History | None = None,
    ) -> None:
        self._pruner = make_pruner(spec)
        if isinstance(self._pruner, optuna.pruners.NopPruner):
            return
        history = history or History(spec)
        self._study = history.study(finished)
        self._rungs = Rungs(self._pruner, self._study)
        self._ids: dict[int, int] = {}
        for index, number in enumerate(sorted(cohort), start=len(finished)):
            self._study.add_trial(history.running(cohort[number]))
            self._ids[number] = index

    def decide(self, epoch: int, means: Mapping[int, float]) -> set[int]:
        """Return the numbers of the trials to prune after this epoch.

        means holds the fold mean of every trial that is still training.
        """
        if isinstance(self._pruner, optuna.pruners.NopPruner):
            return set()
        storage = self._study._storage
        for number, value in means.items():
            storage.set_trial_intermediate_value(self._ids[number], epoch, value)
            self._rungs.record(self._trial(number), epoch, value)
        return {number for number in sorted(means) if number > 0 and self._is_pruned(number, epoch)}

    def _is_pruned(self, number: int, epoch: int) -> bool:
        self._rungs.remove(self._trial(number), epoch)
        return self._pruner.prune(self._study, self._trial(number))

    def _trial(self, number: int) -> FrozenTrial:
        return self._study._storage.get_trial(self._ids[number])
