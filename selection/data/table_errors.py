"""Words what is wrong with a table: missing values, labels that are none, too many errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.cells import number_in
from selection.data.columns import Columns
from selection.data.labels import Labels
from selection.data.numbers import Numbers
from selection.errors import DataError, ErrorDetail, show, shown_name
from selection.metrics import metrics_of
from selection.study.fields import DataSection

MOST_ERRORS = 10
MOST_CLASSES = 20
LEAST_ROWS_OF_A_CLASS = 3
TARGET_RULE = "the target must have no missing values"
FILL = "Fill the values, or remove their rows or columns."
WEIGHTS_HINT = "Correct the value, or name another column."
IMPUTE = 'Write impute = "median", drop the columns, or fill them.'


def raise_all(errors: Sequence[ErrorDetail]) -> None:
    """Raise errors together, the first ten and the number of the others.

    Raises: DataError, if there are any.
    """
    if not errors:
        return
    if len(errors) > MOST_ERRORS:
        more = len(errors) - MOST_ERRORS
        where = errors[0].where.split(": ")[0]
        rule, got = "every column must be readable", f"{more:,} more errors"
        rest = ErrorDetail(where, rule, got, "Fix these first, or drop the columns.")
        errors = [*errors[:MOST_ERRORS], rest]
    raise DataError(*errors)


def empty_table(where: str) -> ErrorDetail:
    return ErrorDetail(where, "a table needs a header and a row", "an empty file", "Fill it.")


def missing_errors(
    columns: Columns, section: DataSection, numeric: Sequence[str], time: str | None
) -> list[ErrorDetail]:
    """Return which columns have missing values that may have none, and which words were so read."""
    checks: list[tuple[str, Sequence[str | None], str]] = [
        (TARGET_RULE, [section.target], FILL),
        ("groups must have no missing values", [section.groups], FILL),
        ("weights must have no missing values", [section.weights], FILL),
        ("time must have no missing values", [time], FILL),
    ]
    if section.impute is None:
        checks += [
            ("categorical columns must have no missing values", section.categories, IMPUTE),
            ("features must have no missing values", numeric, IMPUTE),
        ]
    errors = []
    for rule, names, hint in checks:
        broken = [(name, _missing(columns, name)) for name in names if name is not None]
        broken = [(name, count) for name, count in broken if count]
        if not broken:
            continue
        got = ", ".join(f"{shown_name(name)} ({count})" for name, count in broken[:MOST_ERRORS])
        if len(broken) > MOST_ERRORS:
            got += f" and {len(broken) - MOST_ERRORS:,} more columns"
        words: Counter[str] = Counter()
        for name, _ in broken:
            words.update(_words(columns, name))
        errors.append(_missing_error(str(section.path), rule, got, hint, words))
    return errors


def _missing_error(where: str, rule: str, got: str, hint: str, words: Counter[str]) -> ErrorDetail:
    if words:
        shown = ", ".join(f"{show(word)} {count} rows" for word, count in words.most_common(5))
        got += f": {shown} were read as missing"
        hint += ' If such words are values, write missing = [""] in [data].'
    return ErrorDetail(where, rule, got, hint)


def missing_target(where: str, name: str, labels: Labels) -> ErrorDetail:
    """Return the error of a target with missing values."""
    got = f"{shown_name(name)} ({labels.missing})"
    return _missing_error(where, TARGET_RULE, got, FILL, Counter(labels.words))


def _missing(columns: Columns, name: str) -> int:
    if name in columns.labels:
        return columns.labels[name].missing
    return columns.numbers[name].missing


def _words(columns: Columns, name: str) -> dict[str, int]:
    found = columns.labels[name] if name in columns.labels else columns.numbers[name]
    return dict(found.words)


def negative_errors(column: Numbers, where: str) -> list[ErrorDetail]:
    """Refuse the first weight below 0."""
    negative = np.flatnonzero(column.values < 0)
    if not len(negative):
        return []
    got = f"{column.values[negative[0]]:g} in row {negative[0] + 1}"
    return [ErrorDetail(where, "weights must be at least 0", got, WEIGHTS_HINT)]


def class_errors(labels: Labels, where: str) -> list[ErrorDetail]:
    """Refuse a target of measured numbers: values with a fraction that seldom come back."""
    values = [number_in(name) for name in labels.names]
    broken = [
        index for index, value in enumerate(values) if value is not None and not value.is_integer()
    ]
    if not broken or any(value is None for value in values):
        return []
    few = min(MOST_CLASSES, (len(labels) - labels.missing) / LEAST_ROWS_OF_A_CLASS)
    if len(values) <= few:
        return []
    row = int((labels.codes == broken[0]).argmax())
    got = f"{labels.names[broken[0]]} in row {row + 1}"
    *names, last = metrics_of("regression")
    hint = f"Choose a regression metric: {', '.join(names)} or {last}."
    rule = "classes are words, whole numbers, or a few values that come back"
    return [ErrorDetail(where, rule, got, hint)]


def identifier_errors(labels: Labels, where: str) -> list[ErrorDetail]:
    """Refuse a categorical column that names the rows: each value would be an input of its own."""
    count, rows = len(labels.names), len(labels)
    if count <= max(MOST_CLASSES, rows / 2):
        return []
    rule = "a categorical column must repeat its values"
    got = f"{count:,} different values in {rows:,} rows"
    return [ErrorDetail(where, rule, got, "It names the rows: add it to drop.")]


def time_ranks(names: Sequence[str], where: str) -> NDArray[np.int64]:
    """Return the place of each moment in time: numbers by value, ISO dates by their date.

    Raises: DataError where one is neither.
    """
    values: list[Any] = [number_in(name) for name in names]
    if any(value is None for value in values):
        dates = pd.to_datetime(pd.Series(names), format="ISO8601", errors="coerce", utc=True)
        if dates.isna().any():
            rule = "time must be numbers or ISO dates, such as 2026-01-31"
            got = show(names[int(dates.isna().to_numpy().argmax())])
            raise DataError(ErrorDetail(where, rule, got, "Write the dates anew."))
        values = dates.tolist()
    ranks: NDArray[np.int64] = np.unique(pd.Series(values), return_inverse=True)[1]
    return ranks.astype(np.int64)


def target_hint() -> str:
    """Return how to fix a target of words under a metric of regression."""
    some = metrics_of("classification")[0]
    return f"Choose a classification metric, such as {some}, or another target."


def check_two_classes(classes: Sequence[str], where: str) -> None:
    """Refuse a target that has one value only.

    Raises: DataError.
    """
    if len(classes) < 2:
        got = f"only {show(classes[0])}"
        hint = "Choose another target, or add rows of another class."
        raise DataError(ErrorDetail(where, "classification needs at least two classes", got, hint))
