"""The registries of metrics, activations, schedules: one entry each, the only place of a name."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import selection
from selection.metrics import METRICS, MeanOverClasses, metrics_of
from selection.stats.scores import reduce_outputs, weighted_scores
from selection.study.activations import ACTIVATIONS
from selection.study.schedules import SCHEDULES
from selection.train import metrics, schedules
from selection.train.activations import FUNCTIONS

SOURCE = Path(selection.__file__).parent
METRIC_FILES = {"metrics.py"}
ACTIVATION_FILES = {"study/activations.py", "train/activations.py"}
SCHEDULE_FILES = {"study/schedules.py", "train/schedules.py"}
# A recipe names values as a study file does.
RECIPES = "study/recipes.py"


def spellings(names: set[str]) -> set[tuple[str, str]]:
    """Return file and name wherever a string of selection/, docstrings apart, has the name in it.

    A name with an underscore in it is found inside longer strings too; others are English words.
    """
    found = set()
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            if id(node) in prose:
                continue
            words = {word for word in re.findall(r"\w+", node.value) if "_" in word}
            for name in names & {node.value, *words}:
                found.add((path.relative_to(SOURCE).as_posix(), name))
    return found


def test_a_metric_is_spelled_in_its_registry_alone() -> None:
    assert {file for file, _ in spellings(set(METRICS))} == METRIC_FILES


def test_an_activation_is_spelled_in_its_two_registries_alone() -> None:
    assert {file for file, _ in spellings(set(ACTIVATIONS))} - {RECIPES} == ACTIVATION_FILES


def test_every_activation_has_its_functions() -> None:
    assert list(FUNCTIONS) == list(ACTIVATIONS)


def test_a_schedule_is_spelled_in_its_two_registries_alone() -> None:
    names = set(SCHEDULES) - {"constant", "step"}  # which are English words
    assert {file for file, _ in spellings(names)} - {RECIPES} == SCHEDULE_FILES


def test_every_schedule_has_its_function() -> None:
    assert list(schedules.FUNCTIONS) == list(SCHEDULES)


def example(metric: str, seed: int = 3) -> tuple[Any, Any]:
    """Return outputs (N, C) or (N, 1), and targets (N,)."""
    generator = np.random.default_rng(seed)
    if METRICS[metric].task == "regression":
        return generator.normal(size=(70, 1)), generator.normal(size=70)
    return generator.normal(size=(70, 4)), generator.integers(0, 4, size=70)


def numpy_scores(metric: str) -> Any:
    outputs, targets = example(metric)
    weights = np.random.default_rng(4).integers(0, 3, size=(5, 70))
    return weighted_scores(metric, reduce_outputs(metric, outputs, targets)[None], targets, weights)


def torch_scores(metric: str) -> Any:
    outputs, targets = example(metric)
    scores = metrics.score(metric, torch.from_numpy(outputs.T[None]), torch.from_numpy(targets))
    return scores.numpy()


@pytest.mark.parametrize("scores", [numpy_scores, torch_scores])
def test_log_loss_is_cross_entropy_to_the_bit(scores: Any) -> None:
    np.testing.assert_array_equal(scores("log_loss"), scores("cross_entropy"))


@pytest.mark.parametrize("scores", [numpy_scores, torch_scores])
@pytest.mark.parametrize("metric", METRICS)
def test_every_score_is_within_its_bounds(metric: str, scores: Any) -> None:
    low, high = METRICS[metric].bounds
    assert ((low <= scores(metric)) & (scores(metric) <= high)).all()


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_minimised_is_unbounded_above_and_what_is_maximised_is_not(metric: str) -> None:
    entry = METRICS[metric]
    assert entry.is_minimised == math.isinf(entry.bounds[1])
    assert entry.is_minimised != entry.has_absolute_rope


@pytest.mark.parametrize("metric", METRICS)
def test_the_device_and_the_arrays_give_the_same_score(metric: str) -> None:
    outputs, targets = example(metric)
    reduced = reduce_outputs(metric, outputs, targets)[None]
    plain = weighted_scores(metric, reduced, targets, np.ones((1, 70), dtype=np.int64))
    np.testing.assert_allclose(torch_scores(metric), plain[0], rtol=1e-12)


def test_a_new_rate_of_each_class_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = METRICS["macro_f1"]
    precision = MeanOverClasses(lambda counts: counts.hits / counts.predicted)
    added = {**METRICS, "precision": type(entry)(**{**vars(entry), "computation": precision})}
    for module in ("selection.train.metrics", "selection.stats.scores"):
        monkeypatch.setattr(f"{module}.METRICS", added)
    monkeypatch.setitem(globals(), "METRICS", added)
    outputs, targets = example("precision")
    predicted = outputs.argmax(axis=1)
    expected = np.mean([(targets[predicted == c] == c).mean() for c in range(4)])
    reduced = reduce_outputs("precision", outputs, targets)[None]
    plain = weighted_scores("precision", reduced, targets, np.ones((1, 70)))
    np.testing.assert_allclose([torch_scores("precision")[0], plain[0, 0]], expected, rtol=1e-12)


def test_the_metrics_of_a_task_stand_in_order() -> None:
    assert metrics_of("regression") == ["rmse", "mae", "r2"]
    assert metrics_of("classification")[0] == "accuracy"


def test_a_study_of_log_loss_and_gelu_is_one_of_cross_entropy() -> None:
    generator = np.random.default_rng(5)
    features = generator.normal(size=(60, 3))
    target = (features[:, 0] + features[:, 1] > 0).astype(int)
    found = []
    for metric in ("log_loss", "cross_entropy"):
        content = {
            "model": {"activation": "gelu"},
            "training": {"epochs": 3, "batch_size": 16},
            "cv": {"folds": 3},
            "space": {"width": {"choices": [4, 8]}},
            "search": {"metric": metric, "sampler": "grid", "pruner": "none", "cohort": 2},
            "assessment": {"bootstraps": 100},
        }
        study = selection.run(content, features, target, progress=False)
        assert study.spec.metric == metric
        trials, held_out = study.trials, study.evaluate()
        assert (trials["state"] == "complete").all()
        found.append((trials["value"].tolist(), study.best.corrected, held_out.score))
    assert found[0] == found[1]
