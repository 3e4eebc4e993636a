"""Whole studies on made-up tables whose truth is known or measured on 5,000 held-out rows.

Every study has trials, folds, pruner, baselines and assessment as a user has them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import selection
from selection.study.baselines import constant_name
from selection.study.spec import StudySpec, parse_study
from selection.train.device import choose_device
from selection.workflows.correct import Correction
from selection.workflows.study_data import load_study_data, make_trainer

FEATURES, TRIALS, FOLDS, CHANCE = 10, 30, 5, 0.5
HELD_OUT = 5_000
TABLE = "table.csv"


@dataclass(frozen=True)
class Table:
    """Say what a table is like; without a signal its labels are drawn without its features."""

    name: str
    rows: int = 100
    has_signal: bool = False
    metric: str = "accuracy"
    pruner: str = "successive_halving"
    group: int = 1

    def spec(self, seed: int, folder: Path) -> StudySpec:
        """Write the table and return its study."""
        path = _write(self, seed, folder)
        fastest = 1.0 if self.is_classes else 0.1
        data: dict[str, Any] = {
            "path": str(path),
            "target": "y",
            "held_out": {"column": "held_out", "value": 1},
        }
        data |= {"groups": "unit"} if self.group > 1 else {"drop": ["unit"]}
        return parse_study(
            {
                "name": f"honesty-{seed}",
                "recipe": "book",
                "seed": seed,
                "data": data,
                "cv": {"folds": FOLDS},
                "training": {"epochs": 20, "batch_size": 16},
                "space": {
                    "width": {"low": 4, "high": 64, "log": True},
                    "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
                    "dropout": {"low": 0.0, "high": 0.5},
                    "learning_rate": {"low": 0.01, "high": fastest, "log": True},
                },
                "search": {
                    "metric": self.metric,
                    "trials": TRIALS,
                    "cohort": 10,
                    "pruner": self.pruner,
                },
            },
            self.name,
        )

    @property
    def is_classes(self) -> bool:
        return self.metric == "accuracy"


@dataclass(frozen=True)
class StudyVerdict:
    """Hold the verdict on one study; truth is the winner's score on rows that nobody chose by.

    fold_truth is the mean score of its fold models on these rows. beats_constant and beats_any say
    whether the study claims that the winner beats the constant baseline, or any baseline.
    """

    truth: float
    fold_truth: float
    observed: float
    correction: Correction | None
    complete: int
    beats_constant: bool
    beats_any: bool

    @property
    def contains_truth(self) -> bool:
        """Say whether the corrected interval contains the truth; without one nothing is said."""
        corrected = self.correction
        return corrected is None or corrected.low <= self.truth <= corrected.high


def study_verdicts(table: Table, seeds: int) -> Iterator[StudyVerdict]:
    """Run one study per seed."""
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            study = selection.run(
                table.spec(seed, folder),
                storage=f"sqlite:///{folder}/s.db",
                device="cpu",
                progress=False,
            )
            assessment = study.assess()
            assert assessment.winner is not None
            assert assessment.winner.value is not None
            truth = fold_truth = _chance(table)
            if table.has_signal:
                truth = study.evaluate().score
                fold_truth = _score_of_folds(study, folder, assessment.winner)
            yield StudyVerdict(
                truth,
                fold_truth,
                assessment.winner.value,
                assessment.correction,
                sum(trial.state == "complete" for trial in assessment.trials),
                assessment.baselines[constant_name(study.spec.task)].is_beaten,
                any(baseline.is_beaten for baseline in assessment.baselines.values()),
            )


def _chance(table: Table) -> float:
    """Return the best score that is possible where there is nothing to find."""
    return CHANCE if table.is_classes else 1.0


def _score_of_folds(study: selection.Study, folder: Path, winner: selection.Trial) -> float:
    """Return the mean score of a trial's fold models on the held-out rows."""
    spec = study.spec
    data = load_study_data(spec, folder)
    rows = pd.read_csv(folder / TABLE)
    features = rows.filter(regex="^x").to_numpy().astype(data.dataset.features.dtype)
    target = rows.y.to_numpy().astype(data.dataset.target.dtype)
    development = slice(len(rows) - HELD_OUT)
    np.testing.assert_array_equal(features[development], data.dataset.features)
    np.testing.assert_array_equal(target[development], data.dataset.target)
    dataset = replace(data.dataset, features=features, target=target)
    unseen = np.arange(len(rows) - HELD_OUT, len(rows))
    splits = tuple(replace(split, validation=unseen) for split in data.plan.splits)
    data = replace(data, dataset=dataset, plan=replace(data.plan, splits=splits))
    trainer = make_trainer(spec, data, choose_device("cpu"), 0)
    (result,) = trainer.train([spec.setting(winner.params)])
    assert result.value is not None
    return result.value


def _write(table: Table, seed: int, folder: Path) -> Path:
    generator = np.random.default_rng(seed)
    rows = table.rows + HELD_OUT
    features = generator.normal(size=(rows, FEATURES))
    unit = np.arange(rows) // table.group
    signal = features[:, 0] + features[:, 1] * features[:, 2] if table.has_signal else 0.0
    noise = generator.normal(size=rows)
    if table.group > 1:
        noise = (noise + generator.normal(size=unit[-1] + 1)[unit]) / np.sqrt(2)
    target: NDArray[Any] = signal + noise
    if table.is_classes:
        # As many of each class in both parts, so that the majority class is at chance too.
        target = np.concatenate([_halves(target[: table.rows]), _halves(target[table.rows :])])
    names = [f"x{index}" for index in range(FEATURES)]
    lines = [
        f"{','.join(f'{value:.6g}' for value in row)},{y:.6g},{group},{int(index >= table.rows)}"
        for index, (row, y, group) in enumerate(zip(features, target, unit, strict=True))
    ]
    path = folder / TABLE
    header = ",".join([*names, "y", "unit", "held_out"])
    path.write_text("\n".join([header, *lines]))
    return path


def _halves(values: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray(values > np.median(values), dtype=np.int64)
