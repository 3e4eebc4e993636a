"""A final model as an estimator: preparation and weights together, with scikit-learn's manners."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score

from selection.data.arrays import column_of
from selection.data.labels import MISSING, LabelKind, Labels, labels_of, match, match_names
from selection.data.numbers import numbers_of
from selection.data.prepare import Preparation
from selection.errors import show, shown_name
from selection.stats.scores import log_softmax
from selection.study.activations import ActivationName
from selection.study.trial import Outputs
from selection.train.mlp import predict
from selection.train.weights import LayerWeights

Categories = Mapping[str, NDArray[np.object_]]


@dataclass(frozen=True, eq=False)
class ModelMember:
    """Hold one MLP and the preparation that belongs to it.

    activation is None where it is that of the whole model; count is how often it counts in a mean.
    """

    preparation: Preparation
    layers: tuple[LayerWeights, ...]
    activation: ActivationName | None = None
    count: int = 1


class Model(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Predict with one MLP, or with the mean chances (or values) of several, by their counts.

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

    def outputs(self, features: NDArray[Any], categories: Categories) -> Outputs:
        """Return logits, or predictions in units of the target; of several MLPs their mean.

        The mean of chances is given as its logarithm.
        Shape: (N, D) -> (N, C) float32, or (N, 1) float64.
        """
        each = [self._member_outputs(member, features, categories) for member in self.members]
        if len(each) == 1:
            return each[0]
        if not self.class_names:
            return self._mean(np.stack(each))
        chances = self._mean(np.stack([np.exp(log_softmax(outputs)) for outputs in each]))
        smallest = np.finfo(np.float32).tiny  # the logarithm of 0 is no number
        logits: NDArray[np.float32] = np.log(np.maximum(chances, smallest)).astype(np.float32)
        return logits

    def _mean(self, each: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean over members. Shape: (M, N, C) -> (N, C)."""
        counts = [member.count for member in self.members]
        if set(counts) == {1}:
            plain: NDArray[np.float64] = each.mean(axis=0)
            return plain
        mean: NDArray[np.float64] = np.average(each, axis=0, weights=counts)
        return mean

    def _member_outputs(
        self, member: ModelMember, features: NDArray[Any], categories: Categories
    ) -> Outputs:
        preparation = member.preparation
        prepared = preparation.apply(features, categories).astype(np.float32)
        if not np.isfinite(prepared).all():
            row, column = map(int, np.argwhere(~np.isfinite(prepared))[0])
            name = self._numeric[column]
            value = f"{features[row, column]:g}"
            raise ValueError(
                "features must be in the range of float32 once they are scaled: "
                f"column {name} has {value} in row {row + 1} of these rows"
            )
        activation: ActivationName = member.activation or self.document["activation"]
        outputs = predict(member.layers, activation, prepared)
        if self.class_names:
            return outputs
        # In float32 a target such as 1.7e12 has steps of 131072.
        return outputs.astype(np.float64) * preparation.target_std + preparation.target_mean

    def _read(self, table: ArrayLike | pd.DataFrame) -> tuple[NDArray[Any], Categories]:
        """Return the columns of a table as arrays.

        Raises: ValueError as scikit-learn's estimators do where columns do not fit.
        """
        if isinstance(table, pd.DataFrame):
            table = table.set_axis(list(map(str, table.columns)), axis=1)
            self._check_columns(table)
            features = _numbers_of(table[self._numeric])
            labels = {name: labels_of(table[name]) for name in self._categorical}
            empty = [name for name, column in labels.items() if column.missing]
            if empty and not self.is_imputed:
                raise ValueError(f"categorical columns must not be missing, as in {empty}")
            self._check_known(table, labels)
            categories = self.categories(labels)
        elif self._categorical:
            raise ValueError(f"a DataFrame is needed: {self._categorical} are categorical columns")
        else:
            if isinstance(table, np.ma.MaskedArray):
                raise ValueError("features must not be masked: fill them with NaN")
            features, categories = np.asarray(table), {}
            if features.dtype.kind not in "biuf" and features.ndim == 2:
                features = _numbers_of(pd.DataFrame(features))
        if features.ndim != 2 or features.shape[1] != len(self._numeric):
            expected = f"(N, {len(self._numeric)})"
            raise ValueError(f"features must be {expected}, but got {features.shape}")
        self.check_missing(features)
        return features, categories

    def _check_columns(self, table: pd.DataFrame) -> None:
        names = list(map(str, self.feature_names_in_))
        missing = [name for name in names if name not in table.columns]
        if missing:
            raise ValueError(f"the table lacks the columns {missing}")
        twice = [name for name in names if list(table.columns).count(name) > 1]
        if twice:
            raise ValueError(f"columns must have different names, unlike {twice}")

    @property
    def is_imputed(self) -> bool:
        """Whether the study filled missing numbers, and took a missing category for one."""
        return self.document.get("impute") is not None

    def category_kind(self, name: str) -> LabelKind:
        """Return what the categories of a column were in the study: text, numbers, booleans."""
        kind: LabelKind = self.document.get("category_kinds", {}).get(name, "text")
        return kind

    def known_categories(self, name: str) -> tuple[str, ...]:
        """Return the categories of a column that some member of the model knows."""
        known = {each: None for member in self.members for each in _categories_of(member, name)}
        return tuple(known)

    def categories(self, columns: Mapping[str, Labels]) -> dict[str, NDArray[np.object_]]:
        """Return the categories of columns by the names that the study gave them.

        Labels are compared by the rule of selection.data.labels; an unknown one keeps its name, and
        a missing one is MISSING.
        """
        named = {}
        for name, column in columns.items():
            known = self.known_categories(name)
            places = match_names(column.names, column.kind, known, self.category_kind(name))
            names = [
                known[place] if place >= 0 else own
                for own, place in zip(column.names, places, strict=True)
            ]
            named[name] = np.array([*names, MISSING], dtype=object)[column.codes]
        return named

    def unknown_categories(self, name: str, column: Labels) -> tuple[int, str]:
        """Return how many rows hold a category that no member knows, and the most frequent one."""
        known, kind = self.known_categories(name), self.category_kind(name)
        counts = Counter(column.counts())
        if column.missing:
            counts[MISSING] += column.missing
        places = match_names(list(counts), column.kind, known, kind)
        strange = [own for own, place in zip(counts, places, strict=True) if place < 0]
        most = max(strange, key=counts.__getitem__, default="")
        return sum(counts[own] for own in strange), most

    def _check_known(self, table: pd.DataFrame, columns: Mapping[str, Labels]) -> None:
        """Warn of unknown categories; refuse numbers that are none: 01234 was read as 1234."""
        for name, column in columns.items():
            count, most = self.unknown_categories(name, column)
            if not count:
                continue
            if (
                count == len(column)
                and not column.missing
                and pd.api.types.is_numeric_dtype(table[name].dtype)
            ):
                raise ValueError(f"no value of {name} is a category: read it as text, dtype=str")
            warnings.warn(unknown_line(name, count, len(column), most), stacklevel=4)

    def check_missing(self, features: NDArray[Any]) -> None:
        """Refuse values that are infinite, or missing where the study filled none.

        Raises: ValueError.
        """
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
        """The classes: numbers or truth values where the study had such, else names. Shape: (C,).

        Names that all spell a whole number are that number.
        """
        names = self.class_names
        if self._class_kind == "boolean":
            return np.array([name == "True" for name in names])
        is_number = self._class_kind == "number"
        digits = r"\d*" if is_number else r"\d{0,17}"
        if all(re.fullmatch(rf"0|-?[1-9]{digits}", name) for name in names):
            numbers = [int(name) for name in names]
            # Text is sorted as text: "10" before "2".
            if numbers == sorted(numbers):
                return np.array(numbers)
        if is_number:
            return np.array([float(name) for name in names])
        return np.array(names, dtype=object)

    @property
    def _class_kind(self) -> LabelKind:
        kind: LabelKind = self.document.get("class_kind", "text")
        return kind

    def predict(self, X: ArrayLike | pd.DataFrame) -> NDArray[Any]:
        """Return the most likely class of each row. Shape: (N,)."""
        return self.predictions(self.outputs(*self._read(X)))

    def predictions(self, outputs: Outputs) -> NDArray[Any]:
        """Return the most likely class of each row of logits. Shape: (N, C) -> (N,)."""
        named: NDArray[Any] = self.classes_[outputs.argmax(axis=1)]
        return named

    def probabilities(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the chance of each class by logits. Shape: (N, C)."""
        return np.exp(log_softmax(outputs))

    def predict_proba(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Return the chance of each class, in the order of classes_. Shape: (N, C)."""
        return self.probabilities(self.outputs(*self._read(X)))

    def score(
        self,
        X: ArrayLike | pd.DataFrame,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the accuracy. Labels are compared by the rule of selection.data.labels.

        Raises: ValueError for a label that is no class of the model.
        """
        labels = labels_of(column_of(y))
        wanted = match(labels, self.class_names, self._class_kind)
        if (wanted < 0).any():
            row = int((wanted < 0).argmax())
            code = labels.codes[row]
            found = "a missing value" if code < 0 else show(labels.names[code])
            known = show(list(self.class_names[:20]))
            raise ValueError(f"y must hold classes of the model, {known}; row {row + 1} is {found}")
        predicted = self.outputs(*self._read(X)).argmax(axis=1)
        return float(accuracy_score(wanted, predicted, sample_weight=sample_weight))


class RegressorModel(RegressorMixin, Model):  # type: ignore[misc]  # scikit-learn has no types
    """Predict numbers, in units of the target."""

    def predict(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Return the prediction for each row. Shape: (N,)."""
        return self.predictions(self.outputs(*self._read(X)))

    def predictions(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the value of each row of outputs. Shape: (N, 1) -> (N,)."""
        return outputs[:, 0].astype(np.float64)

    def score(
        self,
        X: ArrayLike | pd.DataFrame,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the coefficient of determination."""
        return float(r2_score(np.asarray(y), self.predict(X), sample_weight=sample_weight))


AnyModel = ClassifierModel | RegressorModel


def unknown_line(name: str, count: int, rows: int, most: str) -> str:
    """Return what is said of a column with categories that the model never saw."""
    said = f"{count} of {rows} rows hold a category the model never saw, such as {show(most)}"
    return f"{shown_name(name)}: {said}"


def _numbers_of(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return columns as numbers. Shape: (N, D).

    Raises: ValueError for a cell that is none.
    """
    features = np.empty(table.shape)
    for index in range(table.shape[1]):
        column = numbers_of(table.iloc[:, index])
        if column.unreadable:
            row, text = column.unreadable[0]
            name = table.columns[index]
            raise ValueError(
                f"features must be numbers: column {name} has {show(text)} in row {row + 1}"
            )
        features[:, index] = column.values
    return features


def _categories_of(member: ModelMember, name: str) -> tuple[str, ...]:
    return member.preparation.categories[name]


def make_model(document: Mapping[str, Any], members: Sequence[ModelMember]) -> AnyModel:
    """Return the estimator that a document speaks of."""
    kind = ClassifierModel if document["class_names"] else RegressorModel
    return kind(document, members)
