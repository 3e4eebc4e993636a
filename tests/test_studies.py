"""Every study file of studies/, shortened, runs through the real procedure to a winner."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selection.data import fashion_mnist
from selection.data.fashion_mnist import IdxFile
from selection.search import judged_epochs
from selection.stats.selection_rules import rank
from selection.study.spec import StudySpec, parse_study, read_study
from selection.study.trial import Trial, TrialState
from tests.sweep_bench import Bench

ROOT = Path(__file__).parents[1] / "studies"
FILES = sorted(ROOT.rglob("*.toml"))
BOOK = sorted((ROOT / "book").glob("*.toml"))
FOLDS, TRIALS, COHORT, EPOCHS = 3, 9, 3, 4
PARTS = {"train": 240, "t10k": 60}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def shortened(path: Path) -> StudySpec:
    """Return the study of a file with fewer folds, trials and epochs; a grid keeps its points."""
    content: dict[str, Any] = tomllib.loads(path.read_text())
    search = content["search"]
    content["cv"]["folds"] = min(content["cv"]["folds"], FOLDS)
    content["training"]["epochs"] = EPOCHS
    if search.get("sampler") != "grid":
        search["trials"] = min(search["trials"], TRIALS)
        search["cohort"] = min(search.get("cohort", COHORT), COHORT)
    return parse_study(content, name_of(path))


def idx(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


@pytest.fixture
def small_fashion(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put four small files into the data folder that can be learnt; these are the known ones."""
    generator = np.random.default_rng(0)
    shapes = generator.integers(0, 200, size=(10, 28, 28))
    raw = bench.folder / fashion_mnist.RAW_FOLDER
    raw.mkdir(parents=True)
    known = {}
    for part, rows in PARTS.items():
        labels = (np.arange(rows) % 10).astype(np.uint8)
        noise = generator.integers(0, 56, size=(rows, 28, 28))
        images = (shapes[labels] + noise).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images),
                            (f"{part}-labels-idx1-ubyte", labels)):  # fmt: skip
            content = idx(array)
            (raw / name).write_bytes(content)
            known[name] = IdxFile(hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setattr(fashion_mnist, "FILES", known)


def grid_points(spec: StudySpec) -> set[tuple[tuple[str, Any], ...]]:
    """Return every point of a grid, as sorted pairs."""
    names = sorted(spec.space)
    values: list[Sequence[Any]] = [spec.space[name].grid() or () for name in names]
    return {tuple(zip(names, point, strict=True)) for point in itertools.product(*values)}


@pytest.mark.usefixtures("small_fashion")
@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_study_file_runs_to_a_winner(bench: Bench, path: Path) -> None:
    spec = shortened(path)
    study, data = bench.procedure(spec)
    found = bench.assess(study)
    trials = list(found.trials)
    assert found.is_finished
    assert [trial.number for trial in trials] == list(range(spec.budget))
    assert trials[0].state is TrialState.COMPLETE, "the default is never pruned"
    assert dict(trials[0].params) == dict(spec.default)
    for trial in trials:
        check_trial(spec, trial, len(data.plan.splits))
    if spec.sections.search.sampler == "grid":
        asked = [tuple(sorted(trial.params.items())) for trial in trials]
        assert len(asked) == len(set(asked))
        assert set(asked) == grid_points(spec)
    is_pruned = any(trial.state is TrialState.PRUNED for trial in trials)
    assert is_pruned == (spec.sections.search.pruner != "none"), "its rung was reached"
    has_layers = {fold.layers is not None for fold in bench.records.curves(study, 0)}
    assert has_layers == {spec.sections.training.diagnostics}
    constant = "mean" if spec.task == "regression" else "majority"
    everything = {constant, "linear", "gradient_boosting"}
    assert {*found.baselines, *found.baselines_left_out} == everything
    assert {constant, "linear"} <= set(found.baselines)
    assert found.winner is not None
    if found.rule == "best":
        assert found.winner.number == rank(trials, is_minimised=spec.is_minimised)[0].number
    else:
        check_nearly_best(found.winner, trials, is_minimised=spec.is_minimised)


def check_trial(spec: StudySpec, trial: Trial, splits: int) -> None:
    """Check that a trial ended as its study's pruner lets it, with finite scores on every fold."""
    epochs = spec.setting(trial.params).kind.epochs
    assert len(trial.fold_scores) == splits
    assert np.isfinite([*trial.fold_scores, *trial.train_scores]).all()
    if trial.state is TrialState.COMPLETE:
        assert trial.epochs == epochs
        assert trial.value is not None
        assert math.isclose(trial.value, sum(trial.fold_scores) / splits, rel_tol=1e-12)
        return
    assert spec.sections.search.pruner == "successive_halving"
    assert trial.state is TrialState.PRUNED
    assert trial.epochs in judged_epochs(spec)


def check_nearly_best(winner: Trial, trials: Sequence[Trial], *, is_minimised: bool) -> None:
    """Check that a winner lies within one standard error of the best mean."""
    best = rank(trials, is_minimised=is_minimised)[0]
    assert best.value is not None
    assert winner.value is not None
    assert best.standard_error is not None
    assert abs(winner.value - best.value) <= best.standard_error + 1e-12


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_study_file_is_right_as_it_stands(path: Path) -> None:
    spec = read_study(path)
    points = len(grid_points(spec)) if spec.sections.search.sampler == "grid" else None
    if points is not None:
        assert spec.budget == spec.sections.search.trials == points, "the whole grid, no more"
    has_rungs = bool(judged_epochs(spec))
    assert has_rungs == (spec.sections.search.pruner != "none"), "some trial can be pruned"


def test_names_of_studies_differ() -> None:
    names = [read_study(path).name for path in FILES]
    assert len(names) >= 11
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", BOOK, ids=name_of)
def test_a_file_of_the_book_says_what_it_shows(path: Path) -> None:
    comment = list(itertools.takewhile(lambda line: line[:1] == "#", path.read_text().splitlines()))
    assert 2 <= len(comment) <= 5
    assert re.search(r"[Pp]ublished|The book's own", " ".join(comment))
    assert read_study(path).name == "book-" + path.stem.replace("_", "-")
