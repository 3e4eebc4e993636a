"""Predictions of a file's rows: read as the study's own were, and doubted where they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import selection
from selection.errors import DataError
from selection.model.estimator import AnyModel
from selection.model.tables import predict_table
from tests.command_line import Cli

PRICES = ("0.10", "0.20", "0.30")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of prices and an exported model of it."""
    folder = tmp_path_factory.mktemp("model")
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"a": generator.normal(size=60), "g": np.resize(PRICES, 60)})
    frame["y"] = np.where(frame["a"] > 0, "01", "1")
    frame.to_csv(folder / "t.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = selection.run(
            {
                "name": "prices",
                "recipe": "book",  # fills no missing values
                "data": {"path": "t.csv", "target": "y", "categorical": ["g"]},
                "cv": {"folds": 2},
                "space": {"width": 4},
                "search": {"trials": 1},
                "assessment": {"baselines": []},
            },
            progress=False,
        )
        study.export("exports")
    return folder


@pytest.fixture(autouse=True)
def in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture
def model() -> AnyModel:
    return selection.load_model("exports")


def predicted(model: AnyModel, text: str, name: str = "new.csv", **options: Any) -> Any:
    Path(name).write_text(text, encoding="utf-8")
    return predict_table(model, Path(name), **options)


def test_labels_come_back_as_they_were_written(model: AnyModel) -> None:
    done = predict_table(model, Path("t.csv"))
    assert set(done.predictions["prediction"]) <= {"01", "1"}
    assert list(done.probabilities) == ["probability_01", "probability_1"]
    assert done.warnings == ()
    read = pd.read_csv("t.csv", dtype=str)
    truth = model.score(read[["g"]].assign(a=read["a"].astype(float)), read["y"])
    assert truth == np.mean(done.predictions["prediction"] == read["y"])


def test_order_and_other_columns_do_not_matter(model: AnyModel) -> None:
    plain = predicted(model, "g,a\n0.10,0.5\n0.30,-0.5\n")
    other = predicted(model, "more,a,g,y\nx,0.5,0.10,?\ny,-0.5,0.30,?\n")
    pd.testing.assert_frame_equal(plain.probabilities, other.probabilities)


def test_unknown_categories_are_counted_and_named(model: AnyModel) -> None:
    done = predicted(model, "g,a\n0.10,0.5\nLarge,0.5\nLarge,1\n0.1,0.5\n")
    (line,) = done.warnings
    assert line == 'g: 3 of 4 rows hold a category the model never saw, such as "Large"'


def test_all_unknown_is_an_error_unless_it_is_allowed(model: AnyModel) -> None:
    text = "g,a\n0.1,0.5\nLarge,0.5\n 0.30,0.5\n"
    with pytest.raises(DataError) as caught:
        predicted(model, text)
    assert "new.csv: column g: " in str(caught.value)
    assert "3 of 3 rows hold a category the model never saw" in str(caught.value)
    assert "--allow-unknown" in str(caught.value)
    done = predicted(model, text, allow_unknown=True)
    assert len(done.warnings) == 1
    assert len(np.unique(done.probabilities, axis=0)) == 1


def test_numbers_in_a_parquet_file_are_the_prices_of_the_text(model: AnyModel) -> None:
    frame = pd.DataFrame({"g": [0.1, 0.2, 0.3], "a": 0.5})
    for kind in (np.float64, np.float32):
        frame.astype({"g": kind}).to_parquet("new.parquet")
        done = predict_table(model, Path("new.parquet"))
        assert done.warnings == ()
        spelt = predicted(model, "g,a\n0.10,0.5\n0.20,0.5\n0.30,0.5\n")
        pd.testing.assert_frame_equal(done.probabilities, spelt.probabilities)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n1\n", "the table must have the features of the model, but got none named g"),
        ("a,g,g\n1,0.10,0.10\n", 'column names must differ, but got twice ["g"]'),
        ("a,g\n1,0.10\nx,0.20\n", 'column a: a numeric column must be free of text, but got "x"'),
        ("a,g\n1,\n", "categorical columns must have no missing values, but got g (1)"),
        ("a,g\n,0.10\n", "features must not be missing"),
        ("a,g\n1e200,0.10\n", "column a: values must be at most 1e+100 in size"),
        (
            "a,g\n1e60,0.10\n",
            "in the range of float32 once they are scaled: column a has 1e+60 in row 1",
        ),
        ("a,g\n1\n", "line 2 has 1 cell, the header has 2"),
        ("", "a table needs a header and a row"),
    ],
)
def test_what_does_not_fit_is_refused(model: AnyModel, text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        predicted(model, text)
    assert said in str(caught.value)


def test_another_delimiter_is_read_and_said(model: AnyModel) -> None:
    done = predicted(model, "g;a\n0.10;0.5\n0.20;0.5\n")
    assert done.warnings == ('new.csv: read with delimiter = ";", decimal = "."',)
    tabbed = predicted(model, "g\ta\n0.10\t0.5\n0.20\t0.5\n", "new.tsv")
    assert tabbed.warnings == ()
    pd.testing.assert_frame_equal(done.probabilities, tabbed.probabilities)


def test_a_document_says_how_the_study_wrote_its_cells(model: AnyModel) -> None:
    stated = replace_document(model, csv={"decimal": ",", "delimiter": ";", "missing": ["-"]})
    done = predicted(stated, "g;a\n0.10;0,5\n0.20;0,5\n")
    assert done.warnings == ()
    with pytest.raises(DataError, match="features must not be missing"):
        predicted(stated, "g;a\n0.10;-\n")


def replace_document(model: AnyModel, **parts: Any) -> AnyModel:
    return type(model)({**model.document, **parts}, model.members)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["0", "1"], 'row 1 is "0"'),
        ([1.5, 1.0], 'row 1 is "1.5"'),
        (["01", None], "row 2 is a missing value"),
    ],
)
def test_labels_of_another_spelling_raise(model: AnyModel, labels: list[Any], said: str) -> None:
    features = pd.DataFrame({"a": [0.5, 0.5], "g": ["0.10", "0.20"]})
    with pytest.raises(
        ValueError, match=r"y must hold classes of the model, \[\"01\", \"1\"\]"
    ) as caught:
        model.score(features, labels)
    assert said in str(caught.value)


def test_the_command_writes_files_and_rounds_for_a_terminal(cli: Cli, folder: Path) -> None:
    exports, table = str(folder / "exports"), str(folder / "t.csv")
    done = cli("predict", exports, "--input", table)
    assert done.out.splitlines()[0] == "prediction,probability_01,probability_1"
    short = cli("predict", exports, "--input", table, "--no-probabilities")
    assert short.out.splitlines()[0] == "prediction"
    assert len(short.out.splitlines()) == 61
    written = cli("predict", exports, "--input", table, "--to", "out.csv")
    assert (written.out, written.err) == ("", "60 predictions in out.csv\n")
    assert Path("out.csv").read_text() == done.out
    refused = cli("predict", exports, "--input", table, "--to", "nowhere/out.csv")
    assert refused.code == 1
    assert "must be writable" in refused.err


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> AnyModel:
    """The model of a study that fills what is missing, categories too."""
    folder = tmp_path_factory.mktemp("filled")
    generator = np.random.default_rng(1)
    frame = pd.DataFrame({"a": generator.normal(size=80), "g": np.resize(["x", "y", ""], 80)})
    frame["h"] = np.resize(["u", "v"], 80)
    frame["y"] = np.where(frame["g"] == "", "none", "some")
    frame.loc[::7, "a"] = np.nan
    frame.to_csv(folder / "t.csv", index=False)
    data = {"path": "t.csv", "target": "y", "categorical": ["g", "h"], "prepare": "robust"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = selection.run(
            {
                "name": "filled",
                "recipe": "book",
                "data": {**data, "impute": "median", "missing_indicators": True},
                "cv": {"folds": 2},
                "training": {"optimizer": "adamw", "epochs": 60, "batch_size": 8},
                "space": {"width": 16, "learning_rate": 0.02},
                "search": {"trials": 1},
                "assessment": {"baselines": []},
            },
            progress=False,
        )
        study.export("exports")
        return selection.load_model("exports")


def test_empty_cells_are_filled_and_a_category_as_they_were_in_the_study(filled: AnyModel) -> None:
    assert filled.known_categories("g") == ("", "x", "y")
    done = predicted(filled, "a,g,h\n0.5,x,u\n,y,v\n1,,u\n,NA,v\n")
    assert done.warnings == ()
    assert done.predictions["prediction"].tolist() == ["some", "some", "none", "none"]
    frame = pd.DataFrame({"a": [0.5, np.nan, 1.0, np.nan], "h": ["u", "v", "u", "v"]})
    frame["g"] = np.array(["x", "y", np.nan, np.nan], dtype=object)
    np.testing.assert_array_equal(done.probabilities.to_numpy(), filled.predict_proba(frame))
    first = filled.members[0]
    assert first.layers[0].weight.shape[1] == 1 + 1 + 3 + 2


def test_an_empty_cell_of_a_column_that_had_none_is_an_unknown_category(filled: AnyModel) -> None:
    done = predicted(filled, "a,g,h\n0.5,x,\n1,y,v\n")
    (line,) = done.warnings
    assert line == 'h: 1 of 2 rows hold a category the model never saw, such as ""'
    strange = predicted(filled, "a,g,h\n0.5,x,w\n1,y,v\n")
    pd.testing.assert_frame_equal(done.probabilities, strange.probabilities)
