"""What is trained where engines are compared: plain data, and the study that each case is.

The fraction of rows held out sets how many are trained on: every side sees the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from selection.data.prepare import FoldData, prepare_folds
from selection.data.sources import data_folder
from selection.search import propose
from selection.study.setting import Setting
from selection.study.spec import StudySpec, parse_study
from selection.workflows.study_data import StudyData, load_study_data

FOLDS = 5
WEIGHT_DECAY = 1e-4
LEARNING_RATE = {"low": 0.01, "high": 0.3, "log": True}


@dataclass(frozen=True)
class Case:
    """Say what is trained, on how many rows, and how much of it the peers need to be timed.

    trials and epochs are ours; peers train the first peer_trials settings for peer_epochs. width is
    a list per layer or what a study file searches; goals are ratios by the letter of a peer.
    """

    name: str
    dataset: str
    held_out: float
    prepare: str
    width: Sequence[int] | Mapping[str, Any]
    batch_size: int
    epochs: int
    trials: int
    peer_trials: int
    peer_epochs: int
    dropout: float | tuple[float, ...] = 0.0
    goals: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    @property
    def has_dropout(self) -> bool:
        return self.dropout != 0.0


def _digits(name: str, dropout: float = 0.0, **goals: float) -> Case:
    return Case(name, "digits", 0.2, "scale", [64], 64, 20, 32, 2, 20, dropout, goals)


def _images(
    name: str, widths: list[int], dropout: float | tuple[float, ...] = 0.0, **goals: float
) -> Case:
    return Case(name, "fashion_mnist", 0.6, "scale", widths, 256, 3, 16, 1, 2, dropout, goals)


FULL = (
    _digits("digits 64-64-10"),
    _digits("digits 64-64-10, dropout .2", 0.2, a=30.0, b=20.0, c=8.0),
    _images("Fashion-MNIST 784-256-10", [256], a=4.2, b=3.0),
    _images("Fashion-MNIST 784-256-10, dropout .2", [256], 0.2, a=3.5, b=2.5),
    _images("Fashion-MNIST 784-256-256-10, dropout .2/.5", [256, 256], (0.2, 0.5)),
    Case("breast cancer 30-32-2", "breast_cancer", 0.2, "standardize", [32], 32, 20, 32, 2, 20),
    Case(
        "Fashion-MNIST, one layer of 32 to 512",
        "fashion_mnist",
        0.9,
        "scale",
        {"low": 32, "high": 512, "log": True},
        256,
        3,
        16,
        16,
        1,
    ),
)


def cases(*, is_quick: bool) -> tuple[Case, ...]:
    """Return all cases; the quick ones differ in size only."""
    return tuple(map(_quick, FULL)) if is_quick else FULL


def _quick(case: Case) -> Case:
    if case.dataset != "fashion_mnist":
        return replace(case, epochs=10, peer_trials=1, peer_epochs=4)
    peer_trials = 8 if isinstance(case.width, Mapping) else 1
    return replace(case, held_out=0.95, trials=8, epochs=2, peer_trials=peer_trials, peer_epochs=1)


def spec_of(case: Case, **search: Any) -> StudySpec:
    """Return the study of a case: random search without pruning, in one cohort."""
    width = case.width if isinstance(case.width, Mapping) else list(case.width)
    depth = 1 if isinstance(case.width, Mapping) else len(case.width)
    dropout = list(case.dropout) if isinstance(case.dropout, tuple) else case.dropout
    trials = {"trials": case.trials, "cohort": case.trials}
    return parse_study(
        {
            "name": case.name,
            "recipe": "book",
            "seed": case.seed,
            "data": {"dataset": case.dataset, "held_out": case.held_out, "prepare": case.prepare},
            "cv": {"folds": FOLDS, "kind": "stratified"},
            "model": {"hidden_layers": depth},
            "training": {
                "optimizer": "sgd",
                "batch_size": case.batch_size,
                "epochs": case.epochs,
            },
            "space": {
                "width": width,
                "dropout": dropout,
                "weight_decay": WEIGHT_DECAY,
                "learning_rate": LEARNING_RATE,
            },
            "search": {
                "metric": "accuracy",
                "sampler": "random",
                "pruner": "none",
                **trials,
                **search,
            },
        },
        case.name,
    )


@dataclass(frozen=True, eq=False)
class Work:
    """Hold what is to be trained: every setting on every fold."""

    folds: tuple[FoldData, ...]
    settings: tuple[Setting, ...]

    @property
    def member_epochs(self) -> int:
        return len(self.folds) * sum(setting.kind.epochs for setting in self.settings)


def load_case(spec: StudySpec) -> StudyData:
    """Load the development rows of a case."""
    return load_study_data(spec, data_folder())


def work_of(spec: StudySpec, data: StudyData) -> Work:
    """Return what the study of a case trains: the very settings that its first cohort asks for."""
    params = propose(spec, (), spec.budget, 0)
    folds = prepare_folds(data.dataset, data.plan.splits, spec)
    return Work(folds, tuple(map(spec.setting, params)))


def part_of(work: Work, trials: int, epochs: int) -> Work:
    """Return the first trials of some work, with fewer epochs."""
    settings = [
        replace(setting, kind=replace(setting.kind, epochs=epochs))
        for setting in work.settings[:trials]
    ]
    return replace(work, settings=tuple(settings))
