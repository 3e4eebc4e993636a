"""Warns, before anything is trained, of columns and rows that make a score too good or too bad.

Values of development rows alone are looked at; of held-out rows only whether a copy of them is
among the development rows.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from selection.data.labels import Labels
from selection.data.row_hashes import Hashes
from selection.data.rows import Rows
from selection.data.tables import Table
from selection.errors import show, shown_name
from selection.study.fields import HeldOutColumn
from selection.study.spec import StudySpec

MOST_NAMES = 5
FIRST_ROWS = 1000


def copy_warnings(development: Hashes, held_out: Hashes) -> tuple[str, ...]:
    """Say how many held-out rows have a copy among the development rows. Shape: (N,) each."""
    count = int(np.isin(held_out, development).sum())
    if not count:
        return ()
    have = "row has" if count == 1 else "rows have"
    line = (
        f"{count} held-out {have} an exact copy in development: the held-out score will be too "
        "good. Drop the copies, or put them in one group"
    )
    return (line,)


def column_warnings(source: Rows | Table, spec: StudySpec) -> tuple[str, ...]:
    """Return a line per suspicion about the development rows."""
    if not isinstance(source, Table):
        return ()
    lines = [
        *_counting(source),
        *_index(source),
        *_constant(source),
        *_target_itself(source),
        *_spellings(source),
    ]
    if spec.sections.cv.kind == "time_series" and spec.sections.cv.time is None:
        lines += _newest_first(source)
    return tuple(lines)


def _counting(table: Table) -> Iterator[str]:
    counting = [name for name in table.columns.counting if name in table.features]
    for name in counting[:MOST_NAMES]:
        values = table.columns.numbers[name].values[:3]
        shown = ", ".join(f"{value:g}" for value in values)
        yield f"column {shown_name(name)} counts the rows ({shown}, ...): drop it"


def _index(table: Table) -> Iterator[str]:
    names = [name for name in table.columns.indexes if name in table.features]
    for name in [name for name in names if name not in table.columns.counting][:MOST_NAMES]:
        yield (
            f"column {shown_name(name)} numbers the rows: whole numbers that are all different, "
            "with few gaps. Drop it if it is an index"
        )


def _constant(table: Table) -> Iterator[str]:
    constant = [name for name in table.features if _is_constant(table.values(name))]
    constant += [name for name in table.section.categories if _is_one(table.labels(name))]
    if constant:
        yield f"{_columns(constant)} in every development row"


def _is_one(labels: Labels) -> bool:
    """Say whether all rows have the same category, or all of them none."""
    return len(labels.names) + bool(labels.missing) == 1


def _is_constant(values: NDArray[np.float64]) -> bool:
    present = values[~np.isnan(values)]
    return bool(len(present) and (present == present[0]).all())


def _target_itself(table: Table) -> Iterator[str]:
    target = str(table.section.target)
    if table.task == "regression":
        wanted = table.values(target)
        same = [name for name in table.features if np.array_equal(table.values(name), wanted)]
    else:
        labels = table.labels(target)
        same = [
            name
            for name in table.features
            if _has_few_values(values := table.values(name), len(labels.names))
            and _names_the_classes(np.unique(values, return_inverse=True)[1], labels)
        ]
        same += [
            name
            for name in table.section.categories
            if _names_the_classes(table.labels(name).codes, labels)
        ]
    for name in same[:MOST_NAMES]:
        yield (
            f"column {shown_name(name)} determines the target {shown_name(target)} exactly: "
            "does it leak?"
        )


def _has_few_values(values: NDArray[np.float64], most: int) -> bool:
    """Say whether the first rows have no more different values than this."""
    return len(np.unique(values[:FIRST_ROWS])) <= most


def _names_the_classes(codes: NDArray[np.int64], labels: Labels) -> bool:
    """Say whether each value stands for one class, and each class for one value.

    A missing category is a value.
    """
    classes = len(labels.names)
    codes = codes - codes.min(initial=0)
    if int(codes.max(initial=-1)) + 1 != classes:
        return False
    pairs = codes * classes + labels.codes
    return len(np.unique(pairs)) == classes


def _spellings(table: Table) -> Iterator[str]:
    section = table.section
    names = [section.groups, *section.categories]
    if table.task == "classification":
        names.insert(0, section.target)
    columns = [(str(name), table.labels(str(name)).names) for name in names if name is not None]
    if isinstance(section.held_out, HeldOutColumn):
        part = section.held_out.column
        columns.append((part, table.columns.labels[part].names))
    for name, values in columns:
        for pair in _alike(values)[:MOST_NAMES]:
            shown = " and ".join(map(show, pair))
            yield (
                f"column {shown_name(name)}: {shown} differ only in spaces, case or invisible "
                "characters"
            )


def _alike(names: Sequence[str]) -> list[list[str]]:
    """Return the names that look the same, two or more each."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        visible = "".join(
            each for each in unicodedata.normalize("NFKC", name) if each.isprintable()
        )
        groups[re.sub(r"\s+", " ", visible).strip().casefold()].append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _newest_first(table: Table) -> Iterator[str]:
    falling = [name for name in table.columns.falling if name != table.section.target]
    for name in falling[:MOST_NAMES]:
        yield (
            f"column {shown_name(name)} falls from row to row: if the newest row is first, "
            f"write time = {show(name)} in [cv]"
        )


def _columns(names: Sequence[str]) -> str:
    shown = ", ".join(map(shown_name, names[:MOST_NAMES]))
    if len(names) == 1:
        return f"column {shown} has one value"
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"columns {shown}{more} have one value each"
