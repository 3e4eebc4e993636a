"""Reads Parquet and Feather files, some rows at a time.

ALL of pyarrow. Sizes are looked at before anything is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from selection.data.labels import LabelKind
from selection.errors import DataError, ErrorDetail, install_command

BYTES_PER_VALUE = 8
BUFFER = 2**16


class ArrowFile:
    """An open Parquet or Feather file: its columns and, batch by batch, its rows.

    Raises: DataError if pyarrow is not installed, the file is damaged, or its rows need more
    memory than the machine has.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kind = "parquet" if path.suffix.lower() == ".parquet" else "feather"
        try:
            import pyarrow as pa
            import pyarrow.parquet as parquet
        except ImportError:
            name = self._kind.capitalize()
            hint = f"Install it: {install_command('parquet')}."
            detail = ErrorDetail(str(path), f"{name} needs pyarrow", "none installed", hint)
            raise DataError(detail) from None
        self._pa = pa
        try:
            if self._kind == "parquet":
                self._file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)
                rows, schema = self._file.metadata.num_rows, self._file.schema_arrow
            else:
                self._file = pa.ipc.open_file(pa.memory_map(str(path)))
                batches = range(self._file.num_record_batches)
                rows = sum(self._file.get_batch(index).num_rows for index in batches)
                schema = self._file.schema
        except (OSError, pa.ArrowException) as error:
            raise DataError(self._damaged(error)) from None
        # The index of a DataFrame is kept as a column of a made-up name.
        places = range(len(schema.names))
        self._places = [each for each in places if not _is_index(schema.field(each).name)]
        self._fields = [schema.field(each) for each in self._places]
        self._check_size(rows * len(self._fields) * BYTES_PER_VALUE)

    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return [str(field.name) for field in self._fields]

    def kinds(self) -> list[LabelKind]:
        """Return what the labels of each column are."""
        return [self._label_kind(field.type) for field in self._fields]

    def batches(self) -> Iterator[Iterable[pd.Series[Any]]]:
        """Return the columns of some rows at a time, each read when it is asked for."""
        try:
            if self._kind == "parquet":
                for group in range(self._file.num_row_groups):
                    yield self._row_group(group)
            else:
                for index in range(self._file.num_record_batches):
                    batch = self._file.get_batch(index)
                    yield map(_to_pandas, (batch.column(place) for place in self._places))
        except (OSError, ValueError, self._pa.ArrowException) as error:
            raise DataError(self._damaged(error)) from None

    def _row_group(self, group: int) -> Iterator[pd.Series[Any]]:
        """Return one column after another: a row group may be most of a file."""
        names = [field.name for field in self._fields]
        # The reader takes a point in a name for that of a field inside a column.
        one_by_one = not any("." in name for name in names)
        whole = None if one_by_one else self._file.read_row_group(group)
        for name, place in zip(names, self._places, strict=True):
            if whole is None:
                table = self._file.read_row_group(group, columns=[name], use_threads=False)
                yield _to_pandas(table.column(0))
            else:
                yield _to_pandas(whole.column(place))

    def _label_kind(self, kind: Any) -> LabelKind:
        types = self._pa.types
        if types.is_dictionary(kind):
            return self._label_kind(kind.value_type)
        if types.is_boolean(kind):
            return "boolean"
        is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        return "number" if is_number else "text"

    def _check_size(self, size: int) -> None:
        if not hasattr(os, "sysconf"):  # as on Windows
            return
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if size > memory:
            got = f"{size / 2**30:,.0f} GiB of values"
            rule = f"the table must fit into the {memory / 2**30:,.0f} GiB of this machine's memory"
            raise DataError(ErrorDetail(str(self._path), rule, got, "Take fewer rows or columns."))

    def _damaged(self, error: Exception) -> ErrorDetail:
        reason = " ".join(str(error).split())
        rule, hint = f"must be a {self._kind} file", "Fix the file, or export it again."
        return ErrorDetail(str(self._path), rule, reason, hint)


def _to_pandas(column: Any) -> pd.Series[Any]:
    # Whole numbers with gaps would be rounded to float64.
    series: pd.Series[Any] = column.to_pandas(integer_object_nulls=True)
    return series


def _is_index(name: str) -> bool:
    return name.startswith("__index_level_")
