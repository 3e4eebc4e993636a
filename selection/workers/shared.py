"""Trains one cohort by several processes of this machine, in lockstep: a process has one Python.

Packs of one process are threads, and between short calls they wait for Python's lock. Where that
leaves cores idle, the folds of a cohort are dealt to processes, and with more cores its trials as
well. After each epoch all of them send their scores, the cohort is judged once on all folds,
and each receives the judgement.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Self

import numpy as np

from selection.errors import DeviceError, ErrorDetail, SelectionError
from selection.study.setting import Setting
from selection.study.trial import TrialResult, TrialState
from selection.train.fit import EpochNews, Trainer, Watch
from selection.train.lockstep import Cause, Decide, EpochScores, Failure, Judgement, judge
from selection.train.plan import Share, deal, most_processes
from selection.workers.local import ChildProcess, to_bytes
from selection.workers.training import WorkerSetup


@dataclass(frozen=True)
class CohortShare:
    """Hold the settings and folds that one process trains; others train the rest of the cohort."""

    settings: Sequence[Setting]
    folds: Sequence[int]


class SharedTrainer:
    """Train a cohort in this process, or by several where that is faster; trains like a Trainer."""

    def __init__(self, trainer: Trainer, setup: WorkerSetup, say: Callable[[str], None]) -> None:
        self._trainer = trainer
        self._setup = setup
        self._say = say
        self._said: deque[str] = deque()
        self._children: list[ChildProcess] = []

    @property
    def asks_ahead(self) -> bool:
        return self._trainer.asks_ahead

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def train(
        self,
        settings: Sequence[Setting],
        decide: Decide = lambda epoch, means: (),
        watch: Watch = lambda news: None,
    ) -> list[TrialResult]:
        """Train all settings on all folds; see Trainer.train.

        Raises: DeviceError if one of the processes ends too soon.
        """
        trainer = self._trainer
        shares = deal(settings, trainer.rows, trainer.max_members, trainer.cores)
        if len(shares) == 1 or os.name != "posix":
            return trainer.train(settings, decide, watch)
        try:
            self._start(len(shares))
            return self._in_lockstep(settings, shares, decide, watch)
        except BaseException:
            # They may be anywhere in their epochs.
            self._stop()
            raise

    def _in_lockstep(
        self, settings: Sequence[Setting], shares: Sequence[Share], decide: Decide, watch: Watch
    ) -> list[TrialResult]:
        lengths, folds = [each.kind.epochs for each in settings], len(self._trainer.rows.folds)
        for slot, share in enumerate(shares):
            own = [settings[trial] for trial in share.trials]
            self._send(slot, CohortShare(own, share.folds))
        found: dict[int, list[TrialResult]] = {}
        trained = 0
        while len(found) < len(shares):
            said = {}
            for slot in range(len(shares)):
                if slot in found:
                    continue
                message = self._receive(slot)
                if isinstance(message, EpochScores):
                    said[slot] = message
                else:
                    found[slot] = message
            self._repeat_what_was_said()
            if not said:
                break
            trained += sum(
                len(each.scores) * len(shares[slot].folds) for slot, each in said.items()
            )
            scores = merged_scores(said, found, shares)
            judged = judge(scores, lengths, decide)
            for slot in said:
                self._send(slot, _own(judged, shares[slot]))
            going = {trial for trial in judged.means if lengths[trial] > scores.epoch}
            left = len(going - set(judged.pruned))
            watch(EpochNews(scores.epoch, max(lengths), left, left * folds, trained))
        return merged_results(found, shares, len(settings))

    def _start(self, count: int) -> None:
        """Start processes until there are so many, and wait until they have the rows."""
        if len(self._children) >= count:
            return
        setup = to_bytes(self._setup)
        first = len(self._children)
        rows, cores = self._trainer.rows, self._trainer.cores
        # The same whatever the cohort: how a process cuts its packs follows from its cores.
        environment = {"OMP_NUM_THREADS": str(max(1, cores // most_processes(rows, cores)))}
        for slot in range(first, count):
            try:
                self._children.append(ChildProcess(slot, environment, setup, self._said))
            except OSError as error:
                raise _ended(str(error)) from error
        for slot in range(first, count):
            self._receive(slot)

    def _send(self, slot: int, message: object) -> None:
        """Send a message that is smaller than a pipe's buffer, or that the child waits for."""
        try:
            self._children[slot].connection.send(message)
        except OSError:
            raise self._died(slot) from None

    def _receive(self, slot: int) -> Any:
        try:
            message: Any = self._children[slot].connection.recv()
        except (EOFError, OSError):
            raise self._died(slot) from None
        if isinstance(message, SelectionError):
            raise message
        return message

    def _died(self, slot: int) -> DeviceError:
        ending = self._children[slot].end()
        self._repeat_what_was_said()
        return _ended(f"one that ended {ending}")

    def _stop(self) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.end()
        self._children = []
        self._repeat_what_was_said()

    def _repeat_what_was_said(self) -> None:
        while self._said:
            self._say(self._said.popleft())


def _ended(what: str) -> DeviceError:
    rule = "the processes that share a cohort must run until it ends"
    hint = (
        "Nothing on record is lost: the same command goes on. OMP_NUM_THREADS=1 before it trains "
        "in one process, if this machine has too little memory for several."
    )
    return DeviceError(ErrorDetail("training", rule, what, hint))


def merged_scores(
    said: Mapping[int, EpochScores],
    found: Mapping[int, Sequence[TrialResult]],
    shares: Sequence[Share],
) -> EpochScores:
    """Return the scores of a cohort on all folds from those of its shares, by slot.

    A trial that has failed in one share fails in all of them; found are shares that have ended.
    """
    failed: dict[int, Failure] = {}
    parts: dict[int, dict[int, float]] = {}
    for slot, share in enumerate(shares):
        failures: Mapping[int, Failure] = {
            index: Failure(Cause.MEMORY, 0, result.reason)
            for index, result in enumerate(found.get(slot, ()))
            if result.state is TrialState.FAILED
        }
        if slot in said:
            failures = said[slot].failed
            for index, own in said[slot].scores.items():
                of_trial = parts.setdefault(share.trials[index], {})
                of_trial |= dict(zip(share.folds, own.tolist(), strict=True))
        for index, failure in failures.items():
            trial = share.trials[index]
            failed[trial] = min(failed.get(trial, failure), failure)
    scores = {
        trial: np.array([by_fold[fold] for fold in sorted(by_fold)])
        for trial, by_fold in sorted(parts.items())
    }
    (epoch,) = {each.epoch for each in said.values()}
    return EpochScores(epoch, scores, failed)


def merged_results(
    found: Mapping[int, Sequence[TrialResult]], shares: Sequence[Share], trials: int
) -> list[TrialResult]:
    """Return the results of all trials on all folds from those of the shares, by slot."""
    parts: list[list[tuple[Share, TrialResult]]] = [[] for _ in range(trials)]
    for slot, share in enumerate(shares):
        for trial, result in zip(share.trials, found[slot], strict=True):
            parts[trial].append((share, result))
    return [_merged(own) for own in parts]


def _merged(parts: Sequence[tuple[Share, TrialResult]]) -> TrialResult:
    """Return one trial's result on all folds; one that ran out of memory on some has none."""
    results = [result for _, result in parts]
    ended = next((each for each in results if each.state is TrialState.FAILED), results[0])
    seconds = max(each.seconds for each in results)
    if len({each.epochs for each in results}) > 1 or not ended.folds:
        return TrialResult(ended.state, ended.reason, (), 0, seconds)
    pairs = [pair for own, each in parts for pair in zip(own.folds, each.folds, strict=True)]
    folds = tuple(fold for _, fold in sorted(pairs, key=itemgetter(0)))
    return TrialResult(ended.state, ended.reason, folds, ended.epochs, seconds)


def _own(judged: Judgement, share: Share) -> Judgement:
    """Return what is judged of the trials of a share, by their indices there."""
    own = {trial: index for index, trial in enumerate(share.trials)}
    return Judgement(
        {own[trial]: mean for trial, mean in judged.means.items() if trial in own},
        {own[trial]: reason for trial, reason in judged.failed.items() if trial in own},
        [own[trial] for trial in judged.pruned if trial in own],
    )
