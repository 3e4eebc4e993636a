"""A final model: preparation and weights together, used as scikit-learn's estimators are.

Made by final.py, kept in the record, written by export.py and read back by load_model. The document
is JSON and the weights are safetensors: nothing in a model can be run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score

from selection.assess.scores import log_softmax
from selection.data.prepare import Preparation, preparation_from_json, preparation_to_json
from selection.errors import ExportError, Fault
from selection.study.setting import Activation
from selection.train.mlp import predict
from selection.train.weights import LayerWeights, decode_weights, encode_weights

FORMAT = "selection-model"
VERSION = 1
DOCUMENT_FILE, WEIGHTS_FILE = "model.json", "model.safetensors"
Categories = Mapping[str, NDArray[np.object_]]


@dataclass(frozen=True, eq=False)
class ModelMember:
    """Hold one MLP and the preparation that belongs to it."""

    preparation: Preparation
    layers: tuple[LayerWeights, ...]


class Model(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Predict with one MLP, or with the mean chances (or values) of several.

    Features are the raw ones of the study, in the order of feature_names_in_: an array of numbers,
    or a DataFrame whose columns are found by name and which alone can hold categorical columns.
    """

    def __init__(self, document: Mapping[str, Any], members: Sequence[ModelMember]) -> None:
        self.document = document
        self.members = members

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return no parameters: a final model is fitted, and cannot be fitted again."""
        return {}

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:  # noqa: N803  # scikit-learn's name
        sizes = "-".join(map(str, self.document["members"][0]["sizes"]))
        count = f"{len(self.members)} x " if len(self.members) > 1 else ""
        return f"{type(self).__name__}({count}{sizes}, {self.document['study']})"

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        return np.array([*self._numeric, *self._categorical], dtype=object)

    @property
    def n_features_in_(self) -> int:
        return len(self.feature_names_in_)

    @property
    def _numeric(self) -> list[str]:
        return list(self.document["feature_names"])

    @property
    def _categorical(self) -> list[str]:
        return list(self.document["categorical"])

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.document["class_names"])

    def outputs(self, features: NDArray[Any], categories: Categories) -> NDArray[np.float32]:
        """Return logits, or predictions in units of the target; of several MLPs their mean.

        The mean of chances is given as its logarithm.
        Shape: (N, D) -> (N, C) or (N, 1).
        """
        each = [self._member_outputs(member, features, categories) for member in self.members]
        if len(each) == 1:
            return each[0]
        if not self.class_names:
            mean: NDArray[np.float64] = np.stack(each).astype(np.float64).mean(axis=0)
            return mean.astype(np.float32)
        chances = np.stack([np.exp(log_softmax(outputs)) for outputs in each]).mean(axis=0)
        smallest = np.finfo(np.float32).tiny  # the logarithm of 0 is no number
        logits: NDArray[np.float32] = np.log(np.maximum(chances, smallest)).astype(np.float32)
        return logits

    def _member_outputs(
        self, member: ModelMember, features: NDArray[Any], categories: Categories
    ) -> NDArray[np.float32]:
        preparation = member.preparation
        prepared = preparation.apply(features, categories).astype(np.float32)
        activation: Activation = self.document["activation"]
        outputs = predict(member.layers, activation, prepared)
        if self.class_names:
            return outputs
        unscaled = outputs * preparation.target_std + preparation.target_mean
        return unscaled.astype(np.float32)

    def _read(self, table: ArrayLike | pd.DataFrame) -> tuple[NDArray[Any], Categories]:
        """Return the columns of a table as arrays.

        Raises: ValueError as scikit-learn's estimators do where columns do not fit.
        """
        if isinstance(table, pd.DataFrame):
            missing = [name for name in self.feature_names_in_ if name not in table.columns]
            if missing:
                raise ValueError(f"the table lacks the columns {missing}")
            features = table[self._numeric].to_numpy(dtype=np.float64, na_value=np.nan)
            categories = {
                name: table[name].map(str).to_numpy(dtype=object) for name in self._categorical
            }
        elif self._categorical:
            raise ValueError(f"a DataFrame is needed: {self._categorical} are categorical columns")
        else:
            features, categories = np.asarray(table), {}
        if features.ndim != 2 or features.shape[1] != len(self._numeric):
            expected = f"(N, {len(self._numeric)})"
            raise ValueError(f"features must be {expected}, but got {features.shape}")
        self._check_missing(features)
        return features, categories

    def _check_missing(self, features: NDArray[Any]) -> None:
        if not np.issubdtype(features.dtype, np.floating):
            return
        if np.isinf(features).any():
            raise ValueError("features must be finite")
        unfilled = np.isnan(self.members[0].preparation.fill)
        if np.isnan(features[:, unfilled]).any():
            raise ValueError("features must not be missing: the study did not impute any")


class ClassifierModel(ClassifierMixin, Model):  # type: ignore[misc]  # scikit-learn has no types
    """Predict classes by their names."""

    @cached_property
    def classes_(self) -> NDArray[np.object_]:
        return np.array(self.class_names, dtype=object)

    def predict(self, table: ArrayLike | pd.DataFrame) -> NDArray[np.object_]:
        """Return the most likely class of each row. Shape: (N,)."""
        places = self.outputs(*self._read(table)).argmax(axis=1)
        named: NDArray[np.object_] = self.classes_[places]
        return named

    def predict_proba(self, table: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Return the chance of each class, in the order of classes_. Shape: (N, C)."""
        return np.exp(log_softmax(self.outputs(*self._read(table))))

    def score(self, table: ArrayLike | pd.DataFrame, target: ArrayLike) -> float:
        """Return the accuracy; classes may be given as names or as the numbers that they spell."""
        wanted = np.array([str(value) for value in np.asarray(target)], dtype=object)
        return float(accuracy_score(wanted, self.predict(table)))


class RegressorModel(RegressorMixin, Model):  # type: ignore[misc]  # scikit-learn has no types
    """Predict numbers, in units of the target."""

    def predict(self, table: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Return the prediction for each row. Shape: (N,)."""
        return self.outputs(*self._read(table))[:, 0].astype(np.float64)

    def score(self, table: ArrayLike | pd.DataFrame, target: ArrayLike) -> float:
        """Return the coefficient of determination."""
        return float(r2_score(np.asarray(target), self.predict(table)))


AnyModel = ClassifierModel | RegressorModel


def make_model(document: Mapping[str, Any], members: Sequence[ModelMember]) -> AnyModel:
    """Return the estimator of a document."""
    kind = ClassifierModel if document["class_names"] else RegressorModel
    return kind(document, members)


def encode_model(
    facts: Mapping[str, Any], members: Sequence[ModelMember]
) -> tuple[dict[str, Any], bytes]:
    """Return the document and the safetensors file of a model; facts are what else it says."""
    weights = encode_weights([member.layers for member in members], {"format": FORMAT})
    document = {
        "format": FORMAT,
        "version": VERSION,
        **facts,
        "members": [
            {
                "sizes": _sizes(member),
                "preparation": preparation_to_json(member.preparation),
            }
            for member in members
        ],
        "weights": {"file": WEIGHTS_FILE, "sha256": sha256(weights).hexdigest()},
    }
    return document, weights


def decode_model(document: Mapping[str, Any], weights: bytes, where: str) -> AnyModel:
    """Return the model of a document and its weights.

    Raises: ExportError if they do not belong together or cannot be read.
    """
    mend = "Export the study anew."
    try:
        if document["format"] != FORMAT or document["version"] != VERSION:
            rule = f"a model must be of format {FORMAT} {VERSION}"
            got = f"{document['format']} {document['version']}"
            raise ExportError(Fault(where, rule, got, "Read it with the selection that wrote it."))
        if sha256(weights).hexdigest() != document["weights"]["sha256"]:
            rule = "the weights must be those the document speaks of"
            raise ExportError(Fault(where, rule, "other bytes", mend))
        depths = [len(member["sizes"]) - 1 for member in document["members"]]
        layers = decode_weights(weights, depths)
        members = [
            ModelMember(preparation_from_json(member["preparation"]), tuple(own))
            for member, own in zip(document["members"], layers, strict=True)
        ]
        if [_sizes(member) for member in members] != [m["sizes"] for m in document["members"]]:
            raise ValueError("weights of other sizes")
        return make_model(document, members)
    except (KeyError, TypeError, ValueError) as error:
        got = " ".join(str(error).split())
        raise ExportError(Fault(where, "a model must be whole", got, mend)) from None


def load_model(folder: str | Path) -> AnyModel:
    """Read a model that `selection export` wrote.

    Raises: ExportError if the folder holds no model, or a damaged one.
    """
    where = str(folder)
    try:
        document = json.loads(Path(folder, DOCUMENT_FILE).read_text(encoding="utf-8"))
        weights = Path(folder, WEIGHTS_FILE).read_bytes()
    except OSError as error:
        rule = f"the folder must hold {DOCUMENT_FILE} and {WEIGHTS_FILE}"
        mend = "Write it with selection export NAME --to DIR."
        raise ExportError(Fault(where, rule, error.strerror or "no access", mend)) from None
    except ValueError as error:
        got = " ".join(str(error).split())
        mend = "Export the study anew."
        raise ExportError(Fault(where, f"{DOCUMENT_FILE} must be JSON", got, mend)) from None
    if not isinstance(document, dict):
        raise ExportError(
            Fault(where, "a model must be whole", "no JSON object", "Export the study anew.")
        )
    return decode_model(document, weights, where)


def _sizes(member: ModelMember) -> list[int]:
    first = member.layers[0].weight.shape[1]
    return [int(first), *(len(layer.bias) for layer in member.layers)]
