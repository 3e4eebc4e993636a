"""The finished trials as Optuna's, each converted and checked only once.

A history saves work and decides nothing: whatever it was given before, its study has exactly the
trials that it is given now, numbered as in a study that was built from scratch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from selection.search.sampled_space import sampled_distribution, to_sampled
from selection.search.unit_cube import Position, position_of
from selection.study.optuna_log import quiet_optuna
from selection.study.setting import Setting
from selection.study.space import nearest_inside
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial, TrialState

_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}

# The id of the only study of an in-memory storage.
_STUDY_ID = 0


@dataclass(frozen=True, eq=False)
class Placed:
    """Hold a trial that runs, and what a proposal needs to keep its distance from it."""

    params: Params
    setting: Setting
    position: Position
    frozen: FrozenTrial


class History:
    """Reuse the converted trials of one study from cohort to cohort."""

    def __init__(self, spec: StudySpec) -> None:
        self.distributions = {name: sampled_distribution(dim) for name, dim in spec.space.items()}
        # How many of the trials of the last study() have each setting.
        self.settings: Counter[Setting] = Counter()
        self._spec = spec
        self._finished: list[Trial] = []
        self._frozen: list[FrozenTrial] = []
        self._indices: dict[int, tuple[int, int]] = {}
        # By number, those that ran when the last study() was made.
        self._running: dict[int, Placed] = {}

    def study(
        self,
        finished: Sequence[Trial],
        sampler: optuna.samplers.BaseSampler | None = None,
        running: Sequence[Placed] = (),
    ) -> optuna.Study:
        """Return a new in-memory study with exactly these trials, the finished ones by number."""
        self._learn(finished)
        count = len(finished) + len(running)
        study = new_study(self._spec, sampler)
        # Optuna would check and copy every trial again. A finished trial never changes,
        # so that all studies can share it.
        storage = study._storage
        assert isinstance(storage, InMemoryStorage), "a new study is in memory"
        placed = enumerate((each.frozen for each in running), start=len(finished))
        storage._studies[_STUDY_ID].trials = [
            *self._frozen,
            *(_numbered(frozen, index) for index, frozen in placed),
        ]
        later = {index: (_STUDY_ID, index) for index in range(len(finished), count)}
        storage._trial_id_to_study_id_and_number = self._indices | later
        storage._max_trial_id = count - 1
        storage._prev_waiting_trial_number[_STUDY_ID] = count
        return study

    def place(self, running: Sequence[Trial]) -> list[Placed]:
        """Return where trials that run lie; each is looked at once while it runs."""
        before, self._running = self._running, {}
        for trial in running:
            placed = before.get(trial.number)
            if placed is None or placed.params != trial.params:
                placed = self._place(trial.params)
            self._running[trial.number] = placed
        return [self._running[trial.number] for trial in running]

    def _place(self, params: Params) -> Placed:
        spec = self._spec
        return Placed(
            params, spec.setting(params), position_of(spec.space, params), self.running(params)
        )

    def running(self, params: Params) -> FrozenTrial:
        """Return a running trial without values."""
        return self._freeze(params, OptunaState.RUNNING, (), None)

    def _learn(self, finished: Sequence[Trial]) -> None:
        # A trial that another worker finished may come in between: all later indices change.
        shared = shared_start(self._finished, finished)
        for index in range(shared, len(self._finished)):
            del self._indices[index]
            self._forget(self._spec.setting(self._finished[index].params))
        del self._finished[shared:], self._frozen[shared:]
        for index, trial in enumerate(finished[shared:], start=shared):
            means = trial.fold_means if trial.state is not TrialState.FAILED else ()
            frozen = self._freeze(trial.params, _STATES[trial.state], means, trial.value)
            frozen.number = frozen._trial_id = index
            self._finished.append(trial)
            self._frozen.append(frozen)
            self.settings[self._spec.setting(trial.params)] += 1
            self._indices[index] = (_STUDY_ID, index)

    def _forget(self, setting: Setting) -> None:
        self.settings[setting] -= 1
        if not self.settings[setting]:
            del self.settings[setting]

    def _freeze(
        self, params: Params, state: OptunaState, fold_means: Sequence[float], value: float | None
    ) -> FrozenTrial:
        space = self._spec.space
        inside = nearest_inside(space, params)
        return create_trial(
            state=state,
            params={name: to_sampled(space[name], inside[name]) for name in space},
            distributions=self.distributions,
            intermediate_values=dict(enumerate(fold_means, start=1)),
            value=value,
        )


def _numbered(frozen: FrozenTrial, index: int) -> FrozenTrial:
    """Return a trial that shares all but its number."""
    numbered = copy(frozen)
    numbered.number = numbered._trial_id = index
    return numbered


def shared_start(before: Sequence[Trial], now: Sequence[Trial]) -> int:
    """Return how many trials both sequences have in common at their start."""
    if list(now[: len(before)]) == before:
        return len(before)
    pairs = enumerate(zip(before, now, strict=False))
    differing = (index for index, (one, other) in pairs if one is not other and one != other)
    return next(differing, min(len(before), len(now)))


def new_study(spec: StudySpec, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    """Return an in-memory study without trials, by default with a sampler nobody asks."""
    with quiet_optuna():
        return optuna.create_study(
            storage=InMemoryStorage(),
            study_name=spec.name,
            direction="minimize" if spec.is_minimised else "maximize",
            sampler=sampler or optuna.samplers.RandomSampler(seed=0),
        )
