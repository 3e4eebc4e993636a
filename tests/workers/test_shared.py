"""A cohort that several processes train is the one that this process trains, and ends like it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import selection
from selection.errors import DeviceError
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import (
    CURVE_COLUMNS,
    FoldResult,
    LearningCurve,
    TrialResult,
    TrialState,
)
from selection.train import plan
from selection.train.fit import EpochNews, Trainer
from selection.train.lockstep import Cause, EpochScores, Failure, Judgement, judge
from selection.train.pack_set import PackSet
from selection.train.plan import Share
from selection.workers import shared as shared_module
from selection.workers.local import ChildProcess
from selection.workers.shared import SharedTrainer, merged_results, merged_scores
from selection.workers.training import WorkerSetup, setup_of
from selection.workflows.study_data import StudyData, load_study_data, make_trainer

CORES = 3
Calls = list[tuple[int, list[int]]]


SPEC_CONTENT: Mapping[str, Any] = {
    "name": "shared",
    "recipe": "book",
    "data": {"dataset": "iris", "held_out": 0.2},
    "training": {"batch_size": 16, "epochs": 6},
    "space": {"width": 8, "learning_rate": {"low": 0.01, "high": 0.5}},
    "search": {"metric": "cross_entropy", "trials": 8},
}


def make_spec(**training: Any) -> StudySpec:
    return parse_study(
        {**SPEC_CONTENT, "training": {**SPEC_CONTENT["training"], **training}}, "shared"
    )


SPEC = make_spec()
# The third diverges; the fourth ends sooner than the others.
SETTINGS = [
    SPEC.setting({"learning_rate": 0.02, "width": 8}),
    SPEC.setting({"learning_rate": 0.1, "width": 30}),
    SPEC.setting({"learning_rate": 1e30, "width": 8}),
    SPEC.setting({"learning_rate": 0.2, "width": 8, "epochs": 3}),
    SPEC.setting({"learning_rate": 0.3, "width": 4}),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    return load_study_data(SPEC, tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _deals_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deal cohorts of any size; threads would not do as well."""
    monkeypatch.setattr(plan, "PROCESS_WORK", 0.0)
    monkeypatch.setattr(plan, "CPU_LEAST_WORK", 1e30)


def trainer_of(spec: StudySpec, data: StudyData) -> Trainer:
    trainer = make_trainer(spec, data, torch.device("cpu"), 0)
    trainer.cores = CORES
    return trainer


@pytest.fixture
def shared(data: StudyData) -> Iterator[SharedTrainer]:
    said: list[str] = []
    trainer = trainer_of(SPEC, data)
    with SharedTrainer(trainer, setup_of(SPEC, data, "cpu", 0), said.append) as made:
        yield made
    assert not said
    assert not children()


def children() -> list[psutil.Process]:
    return [
        each
        for each in psutil.Process().children(recursive=True)
        if "selection.workers.child" in " ".join(each.cmdline())
    ]


class Decide:
    """Prune the second trial after two epochs, and remember what was asked."""

    def __init__(self) -> None:
        self.calls: Calls = []
        self.news: list[EpochNews] = []

    def __call__(self, epoch: int, means: Mapping[int, float]) -> Collection[int]:
        self.calls.append((epoch, sorted(means)))
        return [1] if epoch == 2 and 1 in means else []


def assert_alike(ones: list[TrialResult], others: list[TrialResult]) -> None:
    """Compare results whose packs had other shapes."""
    for one, other in zip(ones, others, strict=True):
        assert (one.state, one.reason, one.epochs) == (other.state, other.reason, other.epochs)
        assert one.best_epoch == other.best_epoch
        for a, b in zip(one.folds, other.folds, strict=True):
            assert (a.repeat, a.fold, a.rungs.keys()) == (b.repeat, b.fold, b.rungs.keys())
            np.testing.assert_allclose(a.curve.points, b.curve.points, rtol=1e-4, atol=1e-6)
            for epoch, rung in a.rungs.items():
                np.testing.assert_allclose(rung, b.rungs[epoch], rtol=1e-4, atol=1e-4)
            assert (a.layers is None) == (b.layers is None)
            if a.layers is not None and b.layers is not None:
                np.testing.assert_allclose(a.layers.points, b.layers.points, rtol=1e-3, atol=1e-5)
            assert (a.outputs is None) == (b.outputs is None)
            if a.outputs is not None and b.outputs is not None:
                np.testing.assert_allclose(a.outputs, b.outputs, rtol=1e-4, atol=1e-4)


def assert_same_bits(ones: list[TrialResult], others: list[TrialResult]) -> None:
    for one, other in zip(ones, others, strict=True):
        for a, b in zip(one.folds, other.folds, strict=True):
            assert a.curve.points.tobytes() == b.curve.points.tobytes()


def test_processes_train_a_cohort_in_lockstep_like_one(
    shared: SharedTrainer, data: StudyData
) -> None:
    decide, alone = Decide(), Decide()
    found = shared.train(SETTINGS, decide, decide.news.append)
    assert len(children()) == CORES
    expected = trainer_of(SPEC, data).train(SETTINGS, alone, alone.news.append)
    assert [each.state for each in found] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAILED,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
    ]
    assert_alike(found, expected)
    assert decide.calls == alone.calls
    assert [each.epoch for each in decide.news] == [each.epoch for each in alone.news]
    assert decide.news[-1] == alone.news[-1]


def test_a_rerun_is_bitwise_equal_and_by_the_same_processes(shared: SharedTrainer) -> None:
    first = shared.train(SETTINGS, Decide(), lambda news: None)
    before = {each.pid for each in children()}
    second = shared.train(SETTINGS, Decide(), lambda news: None)
    assert {each.pid for each in children()} == before
    assert_same_bits(first, second)


def test_trials_are_dealt_as_well_where_there_are_more_cores_than_folds(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    spec = parse_study({**SPEC_CONTENT, "cv": {"folds": 2}}, "shared")
    rows = load_study_data(spec, tmp_path_factory.mktemp("two"))
    trainer = trainer_of(spec, rows)
    trainer.cores = 5
    with SharedTrainer(trainer, setup_of(spec, rows, "cpu", 0), print) as shared:
        for settings, processes in ((SETTINGS[:1], 2), (SETTINGS, 4), (SETTINGS[:2], 4)):
            decide, alone = Decide(), Decide()
            found = shared.train(settings, decide)
            assert_alike(found, trainer_of(spec, rows).train(settings, alone))
            assert decide.calls == alone.calls
            assert len(children()) == processes
        after_others = shared.train(SETTINGS)
    with SharedTrainer(trainer, setup_of(spec, rows, "cpu", 0), print) as shared:
        assert_same_bits(after_others, shared.train(SETTINGS))


def test_a_cohort_is_cut_alike_whichever_was_the_first(
    data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that starts for few settings has no more cores than one that starts for many."""
    environments: list[Mapping[str, str]] = []

    class Seen(ChildProcess):
        def __init__(self, slot: int, environment: Mapping[str, str], *words: Any) -> None:
            environments.append(environment)
            super().__init__(slot, environment, *words)

    monkeypatch.setattr(shared_module, "ChildProcess", Seen)
    trainer = trainer_of(SPEC, data)
    trainer.cores = 12
    with SharedTrainer(trainer, setup_of(SPEC, data, "cpu", 0), print) as shared:
        shared.train(SETTINGS[:1])
    assert environments == [{"OMP_NUM_THREADS": "1"}] * 5


def test_repeats_layers_rungs_the_best_epoch_and_patience_go_with_the_trials(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    spec = parse_study(
        {
            **SPEC_CONTENT,
            "data": {"dataset": "diabetes", "held_out": 0.2},
            "cv": {"folds": 3, "repeats": 2},
            "training": {
                "batch_size": 32, "epochs": 30, "epoch": "best_mean", "patience": 4,
                "diagnostics": True,
            },
            "search": {"metric": "rmse", "trials": 8, "pruner": "successive_halving"},
        },
        "shared",
    )  # fmt: skip
    rows = load_study_data(spec, tmp_path_factory.mktemp("diabetes"))
    settings = [
        spec.setting({"learning_rate": rate, "width": 8}) for rate in (0.01, 0.1, 0.3, 1e20)
    ]
    trainer, alone = trainer_of(spec, rows), trainer_of(spec, rows)
    trainer.cores = 4
    with SharedTrainer(trainer, setup_of(spec, rows, "cpu", 0), print) as shared:
        found = shared.train(settings)
        assert len(children()) == 3
    assert_alike(found, alone.train(settings))
    assert found[-1].state is TrialState.FAILED
    assert any(each.epochs < 30 for each in found[:-1]), "none stopped early"
    assert any(fold.rungs for fold in found[0].folds)
    assert len(found[0].folds) == 6


def test_a_process_that_dies_ends_training_in_one_sentence_and_the_next_goes_on(
    shared: SharedTrainer,
) -> None:
    def kill(epoch: int, _means: Mapping[int, float]) -> Collection[int]:
        if epoch == 2:
            children()[-1].send_signal(signal.SIGKILL)
        return []

    with pytest.raises(DeviceError, match="by signal SIGKILL") as caught:
        shared.train(SETTINGS, kill)
    assert "the same command goes on" in str(caught.value)
    assert not children()
    assert shared.train(SETTINGS)[0].state is TrialState.COMPLETE


@pytest.mark.parametrize("where", ["decide", "watch"])
def test_an_interrupt_ends_all_processes(shared: SharedTrainer, where: str) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    at: dict[str, Any] = {where: interrupt}
    with pytest.raises(KeyboardInterrupt):
        shared.train(SETTINGS, **at)
    assert not children()


def test_a_system_without_processes_is_an_error_of_one_sentence(
    shared: SharedTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("Resource temporarily unavailable")

    monkeypatch.setattr(shared_module, "ChildProcess", refuse)
    with pytest.raises(DeviceError, match="Resource temporarily unavailable"):
        shared.train(SETTINGS)


@pytest.mark.parametrize("reason", ["little work", "enough work in a step", "packs"])
def test_one_process_trains_what_others_would_not_speed_up(
    data: StudyData, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    trainer = trainer_of(SPEC, data)
    match reason:
        case "little work":
            monkeypatch.setattr(plan, "PROCESS_WORK", 3e11)
        case "enough work in a step":
            monkeypatch.setattr(plan, "CPU_LEAST_WORK", 1.0)
        case "packs":
            trainer.max_members = 2
    setup: WorkerSetup = setup_of(SPEC, data, "cpu", 0)
    with SharedTrainer(trainer, setup, print) as shared:
        shared.train(SETTINGS)
        assert not children()


SCRIPT = """
import selection
from selection.train import plan
from selection.train import device
from selection.workers import shared
plan.PROCESS_WORK, plan.CPU_LEAST_WORK = 0.0, 1e30
device._cores = lambda: 2
selection.run(
    {"name": "s", "recipe": "book", "data": {"dataset": "iris", "held_out": 0.2},
     "training": {"epochs": 20_000}, "space": {"learning_rate": {"low": 0.01, "high": 0.2}},
     "search": {"metric": "accuracy", "trials": 4, "cohort": 4, "pruner": "none"}},
    storage="sqlite:///s.db", device="cpu", progress=False,
)
"""


def test_they_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    run = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=tmp_path)
    try:
        parent, found = psutil.Process(run.pid), list[psutil.Process]()
        deadline = time.monotonic() + 60
        while len(found) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
            found = parent.children(recursive=True)
        assert len(found) == 2
        time.sleep(1.0)
        os.kill(run.pid, signal.SIGKILL)
    finally:
        run.kill()
        run.wait()
    _, alive = psutil.wait_procs(found, timeout=10)
    assert not alive


def test_a_study_is_the_same_and_goes_on_from_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content: dict[str, Any] = {
        "name": "s",
        "recipe": "book",
        "data": {"dataset": "iris", "held_out": 0.2},
        "training": {"epochs": 8, "batch_size": 16},
        "space": {"learning_rate": {"low": 0.01, "high": 0.5, "log": True}, "width": 8},
        "search": {"metric": "cross_entropy", "trials": 12, "cohort": 4},
        "assessment": {"baselines": []},
    }

    started: list[int] = []

    class Counted(ChildProcess):
        def __init__(self, slot: int, *words: Any) -> None:
            started.append(slot)
            super().__init__(slot, *words)

    monkeypatch.setattr(shared_module, "ChildProcess", Counted)

    def table(name: str, cores: int, *trials: int) -> Any:
        monkeypatch.setattr("selection.train.fit.count_workers", lambda device: cores)
        for count in trials:
            search = {**content["search"], "trials": count}
            study = selection.run(
                {**content, "search": search},
                storage=f"sqlite:///{tmp_path / name}.db",
                device="cpu",
                progress=False,
            )
        return study.trials

    alone = table("a", 1, 12)
    assert not started
    whole, in_two = table("b", 3, 12), table("c", 3, 4, 12)
    assert started == [0, 1, 2] * 3, "once for each call"
    for column in ("state", "param_learning_rate", "epochs"):
        assert list(alone[column]) == list(whole[column]) == list(in_two[column])
    np.testing.assert_allclose(alone["value"], whole["value"], rtol=1e-4)
    np.testing.assert_array_equal(whole["value"], in_two["value"])


SHARES = [Share((0, 2), (0, 2)), Share((0, 2), (1,)), Share((1,), (0, 2)), Share((1,), (1,))]


def result_of(state: TrialState, reason: str, folds: Sequence[int], epochs: int) -> TrialResult:
    curve = LearningCurve(np.zeros((epochs, len(CURVE_COLUMNS))))
    made = tuple(FoldResult(0, fold, curve, None, None, {}, None) for fold in folds)
    return TrialResult(state, reason, made if epochs else (), epochs, 1.0)


def test_scores_of_shares_become_those_of_all_folds_in_order() -> None:
    undefined = Failure(Cause.UNDEFINED, 0, "undefined in fold 0")
    diverged = Failure(Cause.DIVERGED, 1, "diverged in fold 1")
    said = {
        0: EpochScores(3, {0: np.array([0.1, 0.3]), 1: np.array([0.4, 0.6])}, {1: undefined}),
        1: EpochScores(3, {0: np.array([0.2]), 1: np.array([0.5])}, {1: diverged}),
        3: EpochScores(3, {0: np.array([0.8])}, {}),
    }
    gone = {2: [result_of(TrialState.FAILED, "out of memory", (), 0)]}
    scores = merged_scores(said, gone, SHARES)
    assert scores.epoch == 3
    np.testing.assert_array_equal(scores.scores[0], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(scores.scores[2], [0.4, 0.5, 0.6])
    assert scores.failed[2] == diverged, "as one process says it of all folds"
    judged = judge(scores, [9, 9, 9], lambda epoch, means: sorted(means))
    assert judged.means == {0: pytest.approx(0.2)}, "no mean hides a fold that failed"
    assert judged.failed == {1: "out of memory", 2: "diverged in fold 1"}
    assert list(judged.pruned) == [0]


def test_results_of_shares_become_those_of_all_folds_in_order() -> None:
    done, failed = TrialState.COMPLETE, TrialState.FAILED
    found = {
        0: [result_of(done, "", (0, 2), 4), result_of(failed, "diverged", (0, 2), 2)],
        1: [result_of(done, "", (1,), 4), result_of(failed, "diverged", (1,), 2)],
        2: [result_of(failed, "out of memory", (), 0)],
        3: [result_of(failed, "out of memory", (1,), 1)],
    }
    uneven = [result_of(failed, "out of memory", (0, 2), 5)], [result_of(failed, "", (1,), 6)]
    (cut,) = merged_results(dict(enumerate(uneven)), [Share((0,), (0, 2)), Share((0,), (1,))], 1)
    assert (cut.reason, cut.folds, cut.epochs) == ("out of memory", (), 0)
    complete, diverged, memory = (merged_results(found, SHARES, 3)[trial] for trial in (0, 2, 1))
    assert [fold.fold for fold in complete.folds] == [0, 1, 2]
    assert (complete.state, complete.epochs) == (done, 4)
    assert [fold.fold for fold in diverged.folds] == [0, 1, 2]
    assert (diverged.state, diverged.reason, diverged.epochs) == (failed, "diverged", 2)
    assert (memory.state, memory.folds, memory.epochs) == (failed, (), 0)


def test_a_share_reports_once_that_memory_ran_out_between_two_epochs(
    data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others train the trial on their folds until they receive that."""
    keep = PackSet.keep

    def full(self: PackSet, living: frozenset[int]) -> None:
        keep(self, living)
        if 1 not in self.too_large:
            self.too_large.add(1)
            keep(self, living - {1})

    monkeypatch.setattr(PackSet, "keep", full)
    said: list[EpochScores] = []

    def exchange(scores: EpochScores) -> Judgement:
        said.append(scores)
        return judge(scores, [6] * 2, lambda epoch, means: ())

    results = trainer_of(SPEC, data).train_share(SETTINGS[:2], (0, 3), exchange)
    assert [len(each.scores[0]) for each in said] == [2] * 6
    assert [sorted(each.scores) for each in said] == [[0, 1]] + [[0]] * 5
    assert [list(each.failed) for each in said] == [[], [1], [], [], [], []]
    assert [each.state for each in results] == [TrialState.COMPLETE, TrialState.FAILED]
    assert [fold.fold for fold in results[0].folds] == [0, 3]
