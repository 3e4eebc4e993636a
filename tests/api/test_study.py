"""The Python API on both databases and on arrays: one study from its start to its model."""

from __future__ import annotations

import copy
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure
from sklearn.datasets import load_breast_cancer, load_iris

import selection
from selection.store.database import writer_lock
from selection.study.trial import Trial

STUDY = {
    "name": "small",
    "data": {"dataset": "iris", "held_out": 0.2},
    "cv": {"folds": 3},
    "training": {"epochs": 4, "batch_size": 16},
    "space": {"width": {"choices": [4, 8]}, "learning_rate": {"low": 0.01, "high": 1.0}},
    "search": {"metric": "accuracy", "trials": 4, "cohort": 2, "pruner": "none"},
    "assessment": {"bootstraps": 100},
}
ARRAYS = {key: value for key, value in STUDY.items() if key not in ("name", "data")}


class Log:
    """Record every event of a run."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []
        self.trials: list[Trial] = []
        self.studies: list[selection.Study] = []

    def on_epoch(self, event: selection.EpochEvent) -> None:
        self.epochs.append((event.cohort, event.epoch))

    def on_trial_end(self, trial: Trial) -> None:
        self.trials.append(trial)

    def on_study_end(self, study: selection.Study) -> None:
        self.studies.append(study)


@pytest.fixture
def iris() -> tuple[Any, Any]:
    return load_iris(return_X_y=True)  # type: ignore[no-any-return]


def test_a_study_from_start_to_model(storage_url: str, tmp_path: Path) -> None:
    log = Log()
    study = selection.run(STUDY, storage=storage_url, progress=False, callbacks=[log])
    assert log.epochs == [(cohort, epoch) for cohort in (0, 1) for epoch in (1, 2, 3, 4)]
    assert [trial.number for trial in log.trials] == [0, 1, 2, 3]
    assert log.studies == [study]

    trials = study.trials
    assert list(trials.index) == [0, 1, 2, 3]
    assert {"state", "value", "param_width", "fold_0", "fold_1", "fold_2"} <= set(trials)
    best = study.best
    assert best.observed.mean == pytest.approx(trials.loc[best.number, "value"])
    assert best.observed.folds == tuple(trials.loc[best.number, ["fold_0", "fold_1", "fold_2"]])
    assert best.params["width"] in (4, 8)
    assert best.corrected is not None
    assert best.corrected.low <= best.corrected.estimate <= best.corrected.high
    assert best.corrected.level == 0.95
    assert set(best.baselines) == {"majority", "linear", "gradient_boosting"}
    assert best.number not in best.ties

    curves = study.learning_curves(1)
    assert curves.index.names == ["repeat", "fold", "epoch"]
    assert len(curves) == 3 * 4
    last = curves.xs(4, level="epoch")["validation_score"].to_numpy()
    assert last == pytest.approx(trials.loc[1, ["fold_0", "fold_1", "fold_2"]].to_numpy(float))
    assert study.diagnose().verdict
    over = study.curve("width", list(np.array([2, 4, 8])))
    assert list(over.index) == [2, 4, 8]
    own = over["validation_accuracy"].to_dict()[best.params["width"]]
    assert own == pytest.approx(best.observed.mean)
    first = trials.index[0]
    pd.testing.assert_frame_equal(study.learning_curves(first), study.learning_curves(0))
    assert isinstance(study.plots.history(), Figure)
    assert isinstance(study.plots.learning_curves([0, 1], kind="loss"), Figure)
    assert f"trial {best.number}" in study._repr_html_()

    for wrong in ({"rule": "foo"}, {"again": True}, {"reason": "x"}):
        with pytest.raises(selection.StudyStateError):
            study.evaluate(**wrong)
    assert not study.evaluations
    result = study.evaluate()
    with pytest.raises(selection.RefusedError) as refused:
        study.evaluate()
    assert refused.value.result == result
    assert [each.number for each in study.evaluations] == [best.number]

    exported = study.export(tmp_path / "exports")
    assert exported.trial == best.number
    rows, _ = load_iris(return_X_y=True)
    loaded = selection.load_model(tmp_path / "exports")
    np.testing.assert_array_equal(loaded.predict(rows), study.model().predict(rows))

    again = selection.open_study("small", storage=storage_url)
    assert again.best == best
    assert [each.name for each in selection.list_studies(storage_url)] == ["small"]
    assert study.report(tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_a_finished_study_returns_at_once(storage_url: str) -> None:
    selection.run(STUDY, storage=storage_url, progress=False)
    before = selection.open_study("small", storage=storage_url).trials
    log = Log()
    study = selection.run(STUDY, storage=storage_url, progress=False, callbacks=[log])
    assert (log.epochs, log.trials) == ([], [])
    pd.testing.assert_frame_equal(study.trials, before)


def test_a_file_and_its_content_are_one_study(tmp_path: Path) -> None:
    import tomli_w

    path = tmp_path / "small.toml"
    path.write_text(tomli_w.dumps(STUDY))
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = selection.run(path, storage=url, progress=False)
    second = selection.run(STUDY, storage=url, progress=False)
    third = selection.run(first.spec, storage=url, progress=False)
    pd.testing.assert_frame_equal(first.trials, second.trials)
    assert third.best == first.best


def test_a_study_gets_more_trials_until_it_is_evaluated(storage_url: str) -> None:
    whole = selection.run(STUDY, trials=8, name="whole", storage=storage_url, progress=False)
    study = selection.run(STUDY, storage=storage_url, progress=False)
    old = study.best
    log = Log()
    more = selection.run(STUDY, trials="+4", storage=storage_url, progress=False, callbacks=[log])
    assert [trial.number for trial in log.trials] == [4, 5, 6, 7]
    timeless = [name for name in whole.trials if name != "seconds"]
    pd.testing.assert_frame_equal(more.trials[timeless], whole.trials[timeless])
    assert study.best == more.best, "an object that was there before sees it too"
    # The notes of baselines say how long these took.
    assert replace(more.best, baselines={}) == replace(whole.best, baselines={})
    assert study.best.corrected != old.corrected
    level = {"assessment.level": 0.8, "search.trials": 8}
    selection.run(STUDY, overrides=level, storage=storage_url, progress=False)
    assert study.best.corrected is not None
    assert study.best.corrected.level == 0.8
    study.evaluate()
    with pytest.raises(selection.RefusedError, match="after its held-out set was opened"):
        selection.run(STUDY, trials=16, storage=storage_url, progress=False)


def test_overrides_take_the_place_of_what_a_study_says(tmp_path: Path) -> None:
    import tomli_w

    path, url = tmp_path / "small.toml", f"sqlite:///{tmp_path / 'study.db'}"
    path.write_text(tomli_w.dumps(STUDY))
    known = selection.run(STUDY, storage=url, progress=False).spec
    sources: tuple[Any, ...] = (path, STUDY, known)
    for index, source in enumerate(sources):
        study = selection.run(
            source,
            name=f"other {index}",
            seed=5,
            trials=2,
            overrides={"training.epochs": 1, "space.width.choices": [4]},
            storage=url,
            progress=False,
        )
        sections = study.spec.sections
        assert (study.name, sections.seed, sections.training.epochs) == (f"other {index}", 5, 1)
        assert study.trials["param_width"].to_list() == [4, 4]
    assert STUDY["training"] == {"epochs": 4, "batch_size": 16}


def test_another_recipe_needs_what_the_study_was_read_from(storage_url: str) -> None:
    study = selection.run(STUDY, storage=storage_url, progress=False)
    other = {"recipe": "tabular"}
    with pytest.raises(selection.SelectionError, match="a StudySpec has every value of its recipe"):
        selection.run(study.spec, overrides=other, name="other", storage=storage_url)


def test_overrides_of_arrays(iris: tuple[Any, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = selection.run(ARRAYS, *iris, name="kept", trials=2, storage=url, progress=False)
    assert [each.name for each in selection.list_studies(url)] == ["kept"]
    selection.run(ARRAYS, *iris, name="kept", trials="+1", storage=url, progress=False)
    assert len(study.trials) == 3
    with pytest.raises(selection.StudyStateError, match="a study that has begun, but got none"):
        selection.run(ARRAYS, *iris, trials="+1", progress=False)


def test_the_default_storage_is_that_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SELECTION_STORAGE", raising=False)
    selection.run(STUDY, progress=False)
    assert (tmp_path / "selection.db").exists()
    monkeypatch.setenv("SELECTION_STORAGE", f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(selection.StorageError, match="the database must exist"):
        selection.open_study("small")


def test_arrays_without_a_name_are_gone_with_their_study(
    iris: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELECTION_STORAGE", f"sqlite:///{tmp_path / 'other.db'}")
    study = selection.run(ARRAYS, *iris, progress=False)
    assert list(tmp_path.iterdir()) == []
    file = Path(study.storage.removeprefix("sqlite:///"))
    assert file.exists()
    twin = copy.copy(study)
    del study
    gc.collect()
    assert len(twin.trials) == 4
    del twin
    gc.collect()
    assert not file.parent.exists()


def test_a_child_process_leaves_the_study_to_its_parent(iris: tuple[Any, Any]) -> None:
    study = selection.run(ARRAYS, *iris, progress=False)
    child = os.fork()
    if not child:
        del study
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(study.trials) == 4


def test_arrays_that_are_kept_need_a_name(iris: tuple[Any, Any], storage_url: str) -> None:
    with pytest.raises(selection.StudyFileError, match="must have a name"):
        selection.run(ARRAYS, *iris, storage=storage_url, progress=False)


def test_what_weakens_the_answer_is_said() -> None:
    rows = np.repeat(np.arange(20.0), 2)[:, None]
    study = selection.run(ARRAYS, rows, np.repeat([0, 1] * 10, 2), progress=False)
    assert any("exact copy in another fold" in each.text for each in study.warnings)


def test_groups_stay_in_one_fold() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 2))
    groups = np.repeat(np.arange(15), 4)
    study = selection.run(ARRAYS, rows, [0, 1] * 30, groups=groups, progress=False)
    assert study.view().study.facts.fold_kind in ("group", "stratified_group")
    assert study.evaluate().rows % 4 == 0


def test_arrays_with_a_storage_are_kept_resumed_and_fingerprinted(
    iris: tuple[Any, Any], storage_url: str
) -> None:
    content = {**ARRAYS, "name": "arrays"}
    first = selection.run(content, *iris, storage=storage_url, progress=False)
    best = first.best
    again = selection.run(content, *iris, storage=storage_url, progress=False)
    assert again.best == best
    rows, target = iris
    with pytest.raises(selection.StudyStateError, match="keeps its rows and folds"):
        selection.run(content, rows + 1.0, target, storage=storage_url, progress=False)
    bare = selection.open_study("arrays", storage=storage_url)
    with pytest.raises(selection.DataError, match=r"selection\.open_study\(NAME, X, y\)"):
        bare.evaluate()
    assert not bare.evaluations
    assert selection.open_study("arrays", rows, target, storage=storage_url).evaluate().rows == 30


def test_text_columns_are_categories_to_the_model() -> None:
    generator = np.random.default_rng(7)
    colours = generator.choice(["red", "blue"], 120)
    frame = pd.DataFrame({"size": generator.normal(size=120), "colour": colours})
    target = np.where(colours == "red", "warm", "cold")
    study = selection.run(ARRAYS, frame, target, progress=False)
    model = study.model()
    assert model.score(frame, target) > 0.95
    assert list(model.classes_) == ["cold", "warm"]


def test_held_out_is_a_fraction_or_a_mask(iris: tuple[Any, Any]) -> None:
    rows, target = iris
    assert selection.run(ARRAYS, rows, target, held_out=0.4, progress=False).evaluate().rows == 60
    mask = np.arange(len(target)) % 10 == 0
    study = selection.run(ARRAYS, rows, target, held_out=mask, progress=False)
    result = study.evaluate()
    assert result.rows == mask.sum()
    assert result.score == pytest.approx(study.model().score(rows[mask], target[mask]))


def test_the_trials_of_arrays_are_those_of_the_same_rows_in_a_file(tmp_path: Path) -> None:
    rows, target = load_breast_cancer(return_X_y=True, as_frame=True)
    path = tmp_path / "rows.parquet"
    rows.assign(target=target).to_parquet(path)
    data = {"path": str(path), "target": "target"}
    url = f"sqlite:///{tmp_path / 'study.db'}"
    from_file = selection.run({**STUDY, "data": data}, storage=url, progress=False)
    from_arrays = selection.run(ARRAYS, rows, target, progress=False)
    drop = ["seconds"]
    pd.testing.assert_frame_equal(
        from_file.trials.drop(columns=drop), from_arrays.trials.drop(columns=drop)
    )


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: selection.run({"name": "x"}), selection.StudyFileError, "key data must be given"),
        (lambda: selection.run("none.toml"), selection.StudyFileError, "must be readable"),
        (lambda: selection.run(STUDY, device="cuda"), selection.DeviceError, "CUDA"),
        (lambda: selection.run(STUDY, device="gpu"), selection.DeviceError, "must be one of"),  # type: ignore[arg-type]
        (lambda: selection.run(STUDY, workers=0), selection.StudyFileError, "[run] workers"),
        (lambda: selection.run(STUDY, held_out=0.5), selection.StudyFileError, "come with arrays"),
        (
            lambda: selection.run(STUDY, callbacks=[object()]),  # type: ignore[list-item]
            selection.StudyStateError,
            "object without on_epoch",
        ),
        (lambda: selection.run(ARRAYS, [[1.0], [2.0]]), selection.StudyFileError, "Pass X and y"),
        (lambda: selection.run(STUDY, trials="x"), selection.StudyFileError, "or +N for N more"),
        (lambda: selection.run(STUDY, trials=0), selection.StudyFileError, "greater than or equal"),
        (
            lambda: selection.run(STUDY, overrides={"training.epchs": 2}),
            selection.StudyFileError,
            "small (with overrides): [training] epchs: the key must be known",
        ),
        (
            lambda: selection.run(ARRAYS, [[1.0]] * 9, [0, 1, 2] * 3, workers=2, lag=1),
            selection.StudyFileError,
            "lag must be at least workers",
        ),
    ],
)
def test_a_mistake_is_one_line(
    call: Callable[[], object],
    kind: type[selection.SelectionError],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(kind) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


class Interrupt(Log):
    """Press Ctrl-C in the second epoch of the second cohort."""

    def on_epoch(self, event: selection.EpochEvent) -> None:
        super().on_epoch(event)
        if (event.cohort, event.epoch) == (1, 2):
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Python's own handler: a shell may have started this process with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("is_notebook", [True, False])
def test_an_interrupt_gives_the_cohort_back(
    is_notebook: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threading.current_thread() is threading.main_thread()
    url = f"sqlite:///{tmp_path / 'study.db'}"
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)
    if not is_notebook:
        monkeypatch.delattr("sys.ps1")
    log = Interrupt()
    if is_notebook:
        study = selection.run(STUDY, storage=url, progress=False, callbacks=[log])
    else:
        with pytest.raises(KeyboardInterrupt):
            selection.run(STUDY, storage=url, progress=False, callbacks=[log])
        study = selection.open_study("small", storage=url)
    assert log.epochs == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2)]
    assert [each.name for each in log.studies] == ["small"]
    assert not study.view().running
    assert list(study.trials["state"]) == ["complete", "complete", "waiting", "waiting"]
    assert study.learning_curves(2).empty
    with writer_lock(url):
        pass
    resumed = selection.run(STUDY, storage=url, progress=False).trials
    whole = selection.run(STUDY, storage=f"sqlite:///{tmp_path / 'whole.db'}", progress=False)
    drop = ["seconds"]
    pd.testing.assert_frame_equal(resumed.drop(columns=drop), whole.trials.drop(columns=drop))


class Broken(Log):
    """Fail in the first epoch."""

    def on_epoch(self, event: selection.EpochEvent) -> None:
        raise ZeroDivisionError


def test_a_callback_that_fails_gives_the_cohort_back(storage_url: str) -> None:
    log = Broken()
    with pytest.raises(ZeroDivisionError):
        selection.run(STUDY, storage=storage_url, progress=False, callbacks=[log])
    study = selection.open_study("small", storage=storage_url)
    assert set(study.trials["state"]) == {"waiting"}
    assert len(log.studies) == 1


def test_progress_is_silent_or_on_stderr(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    selection.run(STUDY, storage=url, progress=False)
    assert capfd.readouterr() == ("", "")
    selection.run({**STUDY, "name": "other"}, storage=url)
    out, err = capfd.readouterr()
    assert not out
    assert "epoch" in err


@pytest.mark.slow
def test_several_workers_train_the_same_study(new_postgres: Callable[[], str]) -> None:
    log = Log()
    url = new_postgres()
    study = selection.run(STUDY, storage=url, workers=2, progress=False, callbacks=[log])
    assert sorted(trial.number for trial in log.trials) == [0, 1, 2, 3]
    assert set(study.trials["state"]) == {"complete"}
    selection.run(STUDY, storage=url, trials="+3", workers=2, progress=False, callbacks=[log])
    assert sorted(trial.number for trial in log.trials) == [*range(7)]
    assert set(study.trials["state"]) == {"complete"}


def test_public_names_are_all_there() -> None:
    for name in selection.__all__:
        assert getattr(selection, name).__name__ == name
    assert set(selection.__all__) <= set(dir(selection))
    with pytest.raises(AttributeError, match="nothing"):
        _ = selection.nothing
