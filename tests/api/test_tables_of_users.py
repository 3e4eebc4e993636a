"""Small tables as users have them: what a study, its answer and its model make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import selection
from selection.api.study import Study
from selection.errors import DataError

ROWS = 60


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def frame() -> pd.DataFrame:
    generator = np.random.default_rng(1)
    return pd.DataFrame(generator.normal(size=(ROWS, 2)).round(3), columns=["a", "b"])


def run(frame: pd.DataFrame, metric: str = "accuracy", name: str = "t", **sections: Any) -> Study:
    frame.to_csv("t.csv", index=False)
    data = {"path": "t.csv", "target": "y", **sections.pop("data", {})}
    content = {
        "name": name,
        "data": data,
        "cv": {"folds": 3},
        "training": {"epochs": 20, "batch_size": 16},
        "space": {"width": 8, "learning_rate": {"low": 0.05, "high": 0.3, "log": True}},
        "search": {"metric": metric, "trials": 2, "pruner": "none", "sampler": "random"},
        "assessment": {"bootstraps": 100, "baselines": []},
        **sections,
    }
    return selection.run(content, storage="sqlite:///s.db", progress=False)


@pytest.mark.parametrize(
    "labels",
    [
        ("True", "False", "Unknown"),
        ("01", "02", "XX"),
        ("1.0", "2.0", "other"),
        ("1e1", "2e1", "other"),
        (" 1", " 2", "other"),
        ("+1", "-1", "n.a."),
    ],
)
def test_a_rare_label_does_not_rename_the_others(
    frame: pd.DataFrame, labels: tuple[str, str, str]
) -> None:
    """Held-out rows without the rare label once had classes of other names."""
    frame["y"] = np.where(frame["a"] > 0, labels[0], labels[1])
    frame.loc[:1, "y"] = labels[2]
    frame["part"] = ["late" if row % 5 == 4 else "early" for row in range(ROWS)]
    study = run(frame, data={"held_out": {"column": "part", "value": "late"}})
    result = study.evaluate()
    assert result.classes is not None
    found = {line.name: line.rows for line in result.classes.per_class}
    late = frame["y"][frame["part"] == "late"].value_counts()
    assert found == {label: int(late.get(label, 0)) for label in labels}
    assert set(study.model().predict(frame[["a", "b"]])) <= set(labels)


@pytest.mark.parametrize("offset", [0.0, 1.7e12, 2.4e6, -1e9])
def test_an_offset_of_the_target_changes_no_score(frame: pd.DataFrame, offset: float) -> None:
    frame["y"] = np.round(3000 * frame["a"]) + offset
    study = run(frame, "r2", training={"epochs": 60, "batch_size": 8})
    best = study.best
    result = study.evaluate()
    assert best.corrected is not None
    assert min(best.observed.mean, best.corrected.estimate, result.score) > 0.9
    predicted = study.model().predict(frame[["a", "b"]])
    assert len(np.unique(predicted)) > 50
    assert np.corrcoef(predicted, frame["y"])[0, 1] > 0.95


def test_labels_come_back_as_written_and_score_is_the_same_for_every_kind(
    frame: pd.DataFrame,
) -> None:
    for index, pair in enumerate((("01234", "00987"), ("True", "False"), ("1", "2"))):
        frame["y"] = np.where(frame["a"] > 0, *pair)
        study = run(frame, name=f"labels_{index}")
        model, features = study.model(), frame[["a", "b"]]
        assert {str(each) for each in model.predict(features)} == set(pair)
        as_text = pd.read_csv("t.csv", dtype=str)["y"]
        typed = pd.read_csv("t.csv")["y"]
        assert model.score(features, as_text) == model.score(features, typed) > 0.7
        with pytest.raises(ValueError, match="y must hold classes of the model"):
            model.score(features, as_text.replace({pair[0]: "another"}))


def test_what_is_suspicious_is_in_the_answer(frame: pd.DataFrame) -> None:
    frame.insert(0, "Unnamed: 0", range(ROWS))
    frame["y"] = np.where(frame["Unnamed: 0"] < 30, 0, 1)
    study = run(frame)
    texts = [warning.text for warning in study.warnings]
    assert "column Unnamed: 0 counts the rows (0, 1, 2, ...): drop it" in texts
    frame["part"] = "early"
    copies = frame.iloc[:9].assign(part="late")
    both = pd.concat([frame, copies], ignore_index=True).drop(columns="Unnamed: 0")
    study = run(both, name="copies", data={"held_out": {"column": "part", "value": "late"}})
    assert any("9 held-out rows have an exact copy" in warning.text for warning in study.warnings)


def test_rows_that_another_study_opened_are_counted(frame: pd.DataFrame) -> None:
    frame["y"] = np.where(frame["a"] > 0, "u", "v")
    run(frame, name="first").evaluate()
    renamed = frame[["b", "a", "y"]].rename(columns={"b": "beta"}).assign(batch=1)
    again = run(renamed, name="again", data={"drop": ["batch"]})
    (opened,) = [line.text for line in again.warnings if line.code == "held_out_opened"]
    assert opened == "12 of 12 held-out rows were opened before by study first"
    other = run(frame, name="other", seed=5)
    (opened,) = [line.text for line in other.warnings if line.code == "held_out_opened"]
    assert "of 12 held-out rows were opened before by study first" in opened
    apart = run(frame.assign(a=frame["a"] + 1), name="apart", seed=5)
    assert [line for line in apart.warnings if line.code == "held_out_opened"] == []


def test_numbers_of_a_frame_and_text_of_a_file_are_the_same_labels(frame: pd.DataFrame) -> None:
    numbers = frame.assign(g=np.resize([0.1, 0.2, 0.25], ROWS), y=np.resize([1, 2], ROWS))
    study = run(numbers, data={"categorical": ["g"]})
    spelt = numbers.assign(g=numbers["g"].map("{:.2f}".format))
    of_numbers = selection.run(
        {
            "name": "arrays",
            "cv": {"folds": 3},
            "data": {"categorical": ["g"]},
            "search": {"trials": 1},
            "assessment": {"baselines": []},
        },
        numbers[["a", "b", "g"]],
        numbers["y"],
        storage="sqlite:///s.db",
        progress=False,
    )
    model = of_numbers.model()
    features = ["a", "b", "g"]
    np.testing.assert_array_equal(model.predict(numbers[features]), model.predict(spelt[features]))
    assert model.score(spelt[features], numbers["y"].astype(str)) == model.score(
        numbers[features], numbers["y"].astype(float)
    )
    text_model = study.model()
    assert set(text_model.predict(numbers[features])) <= {1, 2}


def test_a_target_of_one_value_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="at least two values, but got only 3"):
        run(frame.assign(y=3), "rmse")
