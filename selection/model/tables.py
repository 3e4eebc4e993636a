"""Predictions of a final model for the rows of a table in a file, read as the study's own were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from selection.data.columns import Use
from selection.data.csv_file import CsvFormat
from selection.data.labels import MISSING, Labels
from selection.data.numbers import Numbers
from selection.data.table_errors import raise_all
from selection.data.table_source import guess_format, make_format
from selection.data.tables import read_columns
from selection.errors import DataError, ErrorDetail, show, shown_name
from selection.model.estimator import AnyModel, ClassifierModel, unknown_line

CELL_HINT = "Correct the cell, or leave it empty if the model fills missing values."


@dataclass(frozen=True, eq=False)
class Predictions:
    """Hold a prediction for each row, and what is doubtful about them.

    probabilities has a column per class, and none for a regression.
    """

    predictions: pd.DataFrame
    probabilities: pd.DataFrame
    warnings: tuple[str, ...]


def predict_table(model: AnyModel, table: Path, *, allow_unknown: bool = False) -> Predictions:
    """Return a prediction for each row, and for a classifier the probability of each class.

    allow_unknown accepts a column of which no category is known.

    Raises: DataError if the table cannot be read or does not fit the model.
    """
    where = str(table)
    names, categorical = model.document["feature_names"], model.document["categorical"]
    uses: dict[str, Use] = dict.fromkeys(names, "numbers")
    uses |= dict.fromkeys(categorical, "labels")
    stated = _format(model, table)
    form = guess_format(table, stated, set(uses))
    count, numbers, labels = read_columns(table, uses, form)
    errors = [
        error
        for name in names
        for error in numbers[name].errors(f"{where}: column {shown_name(name)}", CELL_HINT)
    ]
    empty = {name: labels[name].missing for name in categorical if labels[name].missing}
    if empty and not model.is_imputed:
        rule = "categorical columns must have no missing values"
        got = ", ".join(f"{shown_name(name)} ({missing})" for name, missing in empty.items())
        errors.append(ErrorDetail(where, rule, got, "Fill the values."))
    errors += _missing(model, numbers, where)
    raise_all(errors)
    warnings = _unknown(model, labels, where, count, allow_unknown)
    if form != stated:
        read = f"delimiter = {show(form.delimiter)}, decimal = {show(form.decimal)}"
        warnings = (f"{where}: read with {read}", *warnings)
    features = np.empty((count, len(names)))
    for index, name in enumerate(names):
        features[:, index] = numbers[name].values
    try:
        model.check_missing(features)
        outputs = model.outputs(features, model.categories(labels))
    except ValueError as error:
        rule = "the rows must fit the model"
        raise DataError(ErrorDetail(where, rule, str(error), "Fix the table.")) from None
    predictions = pd.DataFrame({"prediction": model.predictions(outputs)})
    probabilities = pd.DataFrame(index=predictions.index)
    if isinstance(model, ClassifierModel):
        columns = [f"probability_{each}" for each in model.class_names]
        probabilities = pd.DataFrame(model.probabilities(outputs), columns=columns)
    return Predictions(predictions, probabilities, warnings)


def _missing(model: AnyModel, numbers: Mapping[str, Numbers], where: str) -> list[ErrorDetail]:
    """Return the missing values of features that the study did not fill."""
    errors = []
    for name, fill in zip(numbers, model.members[0].preparation.fill, strict=True):
        gaps = np.flatnonzero(np.isnan(numbers[name].values))
        if np.isnan(fill) and len(gaps) and not numbers[name].unreadable:
            at = f"{where}: column {shown_name(name)}"
            rule = "features must not be missing: the study did not impute any"
            errors.append(ErrorDetail(at, rule, f"none in row {gaps[0] + 1}", "Fill the values."))
    return errors


def _format(model: AnyModel, table: Path) -> CsvFormat:
    """Return how the study's file was written; a known category is no word for a missing value.

    The empty cell stays one: it is missing among numbers, and has the category of those missing.
    """
    form = make_format(table, model.document.get("csv", {}))
    known = {
        each for name in model.document["categorical"] for each in model.known_categories(name)
    }
    known.discard(MISSING)
    return replace(form, missing=tuple(word for word in form.missing if word not in known))


def _unknown(
    model: AnyModel, labels: Mapping[str, Labels], where: str, rows: int, allow_unknown: bool
) -> tuple[str, ...]:
    """Return a line for each column with categories that the model never saw.

    Raises: DataError where a column has no other, unless that is allowed.
    """
    lines, errors = [], []
    for name, column in labels.items():
        count, most = model.unknown_categories(name, column)
        if not count:
            continue
        line = unknown_line(name, count, rows, most)
        lines.append(line)
        if count == rows and not allow_unknown:
            known = show(list(model.known_categories(name)[:20]))
            at = f"{where}: column {shown_name(name)}"
            hint = f"Known: {known}. To predict anyway: --allow-unknown."
            rule = "at least one row must have a category that the model knows"
            errors.append(ErrorDetail(at, rule, line.partition(": ")[2], hint))
    raise_all(errors)
    return tuple(lines)
