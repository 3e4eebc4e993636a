"""The locked door: the held-out rows of a study.

Only workflows/evaluate.py may import this module, and an import contract holds it to that. It is
called once the ledger has been written.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from selection.data.dataset import Dataset
from selection.data.rows import Rows
from selection.data.sources import read_named
from selection.data.split import is_official, split_source
from selection.errors import DataError, ErrorDetail
from selection.study.spec import StudySpec


def open_held_out(
    spec: StudySpec, development: Dataset, folder: Path, frame: pd.DataFrame | None = None
) -> Rows:
    """Return the held-out rows of a study, their classes numbered as the development rows' are.

    Raises: DataError if they are not those the study began with, cannot be read, or have a class
    that no development row has.
    """
    if is_official(spec):
        return read_named(str(spec.sections.data.dataset), spec.seed, folder, "held_out")
    parts = split_source(spec, folder, frame)
    if parts.held_out_identity != development.held_out_fingerprint:
        rule = "held-out rows must stay as they were when the study began"
        hint = "Put the data back, or give the study another name."
        raise DataError(ErrorDetail(development.name, rule, "other content", hint))
    return parts.rows(parts.held_out, development.class_names)
