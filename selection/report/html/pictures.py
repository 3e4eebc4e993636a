"""Rows of image data as pictures inside a page; only development rows are ever loaded."""

from __future__ import annotations

import threading
from base64 import b64encode

from selection.data.dataset import Dataset, load_development
from selection.data.sources import data_folder, is_at_hand
from selection.errors import DataError
from selection.report.study_view import StudyView
from selection.workflows.out_of_fold import is_image, picture


class Pictures:
    """Hold the development rows that pictures were last made of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fingerprint = ""
        self._dataset: Dataset | None = None

    def picture(self, view: StudyView, row: int) -> str:
        """Return a row as an address that holds its picture; "" where rows are no pictures.

        Also "" where the rows of the study cannot be had on this machine.
        """
        dataset = self._rows(view)
        if dataset is None:
            return ""
        encoded = b64encode(picture(dataset.features[row])).decode("ascii")
        return f"data:image/png;base64,{encoded}"

    def _rows(self, view: StudyView) -> Dataset | None:
        with self._lock:
            if self._fingerprint != view.study.data_fingerprint:
                dataset = _load(view)
                if dataset is None:
                    return None
                self._dataset, self._fingerprint = dataset, dataset.fingerprint
            return self._dataset


def _load(view: StudyView) -> Dataset | None:
    """Return the rows, if they are pictures and on this machine; a page never downloads any."""
    if not is_at_hand(view.spec.sections.data.dataset, data_folder()):
        return None
    try:
        dataset = load_development(view.spec, data_folder())
    except DataError:
        return None
    is_same = dataset.fingerprint == view.study.data_fingerprint
    return dataset if is_same and is_image(dataset) else None
