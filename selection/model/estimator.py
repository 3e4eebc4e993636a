"""A final model as an estimator: preparation and weights together, with scikit-learn's manners."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score

from selection.data.columns import category_names
from selection.data.prepare import Preparation
from selection.stats.scores import log_softmax
from selection.study.activations import ActivationName
from selection.train.mlp import predict
from selection.train.weights import LayerWeights

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

    def fit(self, X: Any, y: Any = None) -> Any:
        """Refuse: scikit-learn's tools only ask whether an estimator has this method."""
        raise TypeError("a final model is fitted already; train another with selection run")

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
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
        if not np.isfinite(prepared).all():
            row = int(np.flatnonzero(~np.isfinite(prepared).all(axis=1))[0])
            raise ValueError(f"features must be in the range of float32, unlike row {row + 1}")
        activation: ActivationName = self.document["activation"]
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
            empty = [name for name in self._categorical if table[name].isna().any()]
            if empty:
                raise ValueError(f"categorical columns must not be missing, as in {empty}")
            categories = {name: category_names(table[name]) for name in self._categorical}
            self._check_known(table, categories)
        elif self._categorical:
            raise ValueError(f"a DataFrame is needed: {self._categorical} are categorical columns")
        else:
            features, categories = np.asarray(table), {}
            if features.dtype.kind not in "biuf":
                features = features.astype(np.float64)
        if features.ndim != 2 or features.shape[1] != len(self._numeric):
            expected = f"(N, {len(self._numeric)})"
            raise ValueError(f"features must be {expected}, but got {features.shape}")
        self._check_missing(features)
        return features, categories

    def _check_known(self, table: pd.DataFrame, categories: Categories) -> None:
        """Refuse a column of numbers that names no category: 01234 was read as 1234."""
        for name, values in categories.items():
            known = {
                each for member in self.members for each in member.preparation.categories[name]
            }
            is_numeric = len(values) > 0 and pd.api.types.is_numeric_dtype(table[name].dtype)
            if is_numeric and not known & set(values):
                raise ValueError(f"no value of {name} is a category: read it as text, dtype=str")

    def _check_missing(self, features: NDArray[Any]) -> None:
        if features.dtype.kind != "f":
            return
        if np.isinf(features).any():
            raise ValueError("features must be finite")
        unfilled = np.isnan(self.members[0].preparation.fill)
        if np.isnan(features[:, unfilled]).any():
            raise ValueError("features must not be missing: the study did not impute any")


class ClassifierModel(ClassifierMixin, Model):  # type: ignore[misc]  # scikit-learn has no types
    """Predict classes by their names."""

    @cached_property
    def classes_(self) -> NDArray[Any]:
        """The classes: whole numbers where all names spell one, else the names. Shape: (C,)."""
        names = self.class_names
        if all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", name) for name in names):
            numbers = [int(name) for name in names]
            # Text is sorted as text: "10" before "2".
            if numbers == sorted(numbers):
                return np.array(numbers)
        return np.array(names, dtype=object)

    def predict(self, X: ArrayLike | pd.DataFrame) -> NDArray[Any]:
        """Return the most likely class of each row. Shape: (N,)."""
        indices = self.outputs(*self._read(X)).argmax(axis=1)
        named: NDArray[Any] = self.classes_[indices]
        return named

    def predict_proba(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Return the chance of each class, in the order of classes_. Shape: (N, C)."""
        return np.exp(log_softmax(self.outputs(*self._read(X))))

    def score(
        self,
        X: ArrayLike | pd.DataFrame,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the accuracy; classes may be given as names or as the numbers that they spell."""
        wanted = np.array([_class_name(value) for value in np.asarray(y)], dtype=object)
        named = np.array([str(value) for value in self.predict(X)], dtype=object)
        return float(accuracy_score(wanted, named, sample_weight=sample_weight))


class RegressorModel(RegressorMixin, Model):  # type: ignore[misc]  # scikit-learn has no types
    """Predict numbers, in units of the target."""

    def predict(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Return the prediction for each row. Shape: (N,)."""
        return self.outputs(*self._read(X))[:, 0].astype(np.float64)

    def score(
        self,
        X: ArrayLike | pd.DataFrame,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the coefficient of determination."""
        return float(r2_score(np.asarray(y), self.predict(X), sample_weight=sample_weight))


AnyModel = ClassifierModel | RegressorModel


def _class_name(value: Any) -> str:
    """Return a label as a study names its classes: whole numbers and booleans as integers."""
    is_whole = (
        isinstance(value, bool | np.bool_ | float | np.floating) and float(value).is_integer()
    )
    return str(int(value)) if is_whole else str(value)


def make_model(document: Mapping[str, Any], members: Sequence[ModelMember]) -> AnyModel:
    """Return the estimator that a document speaks of."""
    kind = ClassifierModel if document["class_names"] else RegressorModel
    return kind(document, members)
