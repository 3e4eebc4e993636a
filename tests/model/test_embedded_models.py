"""Final models whose columns are embedded: trained, exported, read back and run elsewhere alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import selection
from selection.errors import ExportError
from selection.model.files import decode_model, load_model
from selection.train.fit import Trainer
from selection.train.mlp import predict
from selection.train.refit import fit_members
from tests.train.examples import make_setting, make_table_folds, task_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("has_categories", [False, True])
@pytest.mark.parametrize("numbers", ["none", "pl", "pbld"])
@pytest.mark.parametrize("classes", [3, 0])
def test_an_exported_mlp_computes_what_was_trained(
    classes: int, numbers: str, has_categories: bool, scaling: bool
) -> None:
    setting = make_setting(
        depth=2,
        numeric_embedding=numbers,
        category_embedding=has_categories,
        input_scaling=scaling,
        embedding_scale=0.5,
        optimizer="adamw",
        learning_rate=0.01,
    )
    folds = make_table_folds(classes)
    task, metric = task_of(folds), "accuracy" if classes else "rmse"
    (trained,) = Trainer(folds, task, metric, 7, CPU).train([setting])
    fitted = fit_members(setting, folds, task, metric, 7, CPU)
    for data, own, result in zip(folds, fitted, trained.folds, strict=True):
        features = data.features[data.validation].astype(np.float32)
        outputs = predict(own.layers, "relu", features) * data.target_std + data.target_mean
        assert result.outputs is not None
        np.testing.assert_allclose(outputs, result.outputs, rtol=1e-4, atol=1e-5)


def make_table() -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(5)
    towns = np.array([f"town {index}" for index in range(12)])
    table = pd.DataFrame(
        {
            "age": rng.normal(40.0, 12.0, 120),
            "income": rng.lognormal(8.0, 1.0, 120),
            "town": towns[rng.integers(0, 12, 120)],
            "colour": np.array(["red", "blue"])[rng.integers(0, 2, 120)],
        }
    )
    table.loc[::17, "age"] = np.nan
    return table, (table["age"].fillna(40.0) * 2.0 + rng.normal(size=120)).to_numpy()


@pytest.mark.parametrize("numbers", ["none", "pl", "pbld"])
@pytest.mark.parametrize("metric", ["accuracy", "rmse"])
def test_a_study_with_embeddings_predicts_alike_in_every_form(
    metric: str, numbers: str, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    table, target = make_table()
    content = {
        "data": {"impute": "median", "missing_indicators": True, "prepare": "robust"},
        "model": {
            "activation": "selu",
            "numeric_embedding": numbers,
            "category_embedding": True,
            "input_scaling": True,
            "parametric_activation": True,
        },
        "training": {"epochs": 5, "batch_size": 16, "optimizer": "adamw"},
        "cv": {"folds": 3},
        "space": {"width": {"choices": [4, 8]}},
        "search": {"metric": metric, "sampler": "grid", "pruner": "none", "trials": 2},
        "assessment": {"bootstraps": 100},
        "final": {"model": "fold_ensemble"},
    }
    wanted = target if metric == "rmse" else (target > 80).astype(int)
    study = selection.run(content, table, wanted, progress=False)
    ours = study.model()
    study.export(str(tmp_path / "m"))
    loaded = load_model(tmp_path / "m")
    np.testing.assert_array_equal(ours.predict(table), loaded.predict(table))
    session = onnxruntime.InferenceSession(str(tmp_path / "m" / "model.onnx"))
    given = {
        "features": table[["age", "income"]].to_numpy(),
        "category_0": table[["town"]].to_numpy(dtype=object),
        "category_1": table[["colour"]].to_numpy(dtype=object),
    }
    found = session.run(None, given)
    if metric == "rmse":
        np.testing.assert_allclose(found[0][:, 0], ours.predict(table), rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_allclose(found[1], ours.predict_proba(table), rtol=1e-5, atol=1e-5)


def test_waves_of_another_kind_than_the_document_says_are_refused(tmp_path: Path) -> None:
    table, target = make_table()
    content = {
        "data": {"impute": "median"},
        "model": {"numeric_embedding": "pbld"},
        "training": {"epochs": 1},
        "search": {"metric": "rmse", "trials": 1},
    }
    selection.run(content, table, target, progress=False).export(str(tmp_path / "m"))
    document = json.loads((tmp_path / "m" / "model.json").read_text())
    weights = (tmp_path / "m" / "model.safetensors").read_bytes()
    (member,) = document["members"]
    assert member["numeric_embedding"] == "pbld"
    assert decode_model(document, weights, "here").predict(table[:2]).shape == (2,)
    for other in ("pl", "none"):
        member["numeric_embedding"] = other
        with pytest.raises(ExportError, match="a model must be whole"):
            decode_model(document, weights, "here")


def test_an_ensemble_of_trials_mixes_members_that_are_embedded_in_different_ways(
    tmp_path: Path,
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    table, target = make_table()
    table = table[["age", "income"]]
    content = {
        "data": {"impute": "median"},
        "training": {"epochs": 5, "batch_size": 16, "optimizer": "adamw"},
        "cv": {"folds": 3},
        "space": {
            "numeric_embedding": {"choices": ["none", "pl", "pbld"]},
            "parametric_activation": {"choices": [False, True]},
            "width": 8,
        },
        "search": {"metric": "rmse", "sampler": "grid", "pruner": "none", "trials": 6},
        "selection": {"rule": "ensemble"},
        "assessment": {"bootstraps": 100},
    }
    study = selection.run(content, table, target, progress=False)
    study.export(str(tmp_path / "m"))
    document = json.loads((tmp_path / "m" / "model.json").read_text())
    kinds = {member.get("numeric_embedding", "none") for member in document["members"]}
    assert len(kinds) > 1
    ours, loaded = study.model(), load_model(tmp_path / "m")
    np.testing.assert_array_equal(ours.predict(table), loaded.predict(table))
    session = onnxruntime.InferenceSession(str(tmp_path / "m" / "model.onnx"))
    (found,) = session.run(None, {"features": table.to_numpy()})
    np.testing.assert_allclose(found[:, 0], ours.predict(table), rtol=1e-5, atol=1e-5)
