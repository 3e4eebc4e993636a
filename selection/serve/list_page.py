"""One page of the list of studies, the newest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selection.store.study_list import StudyLine, StudyList

ROWS = 50


@dataclass(frozen=True)
class ListPage:
    """Hold the studies of one page, counted from 1, and how many there are in all."""

    lines: Sequence[StudyLine]
    number: int
    pages: int
    studies: int


def list_page(studies: StudyList, number: int) -> ListPage:
    """Return the page asked for, or the nearest one where there is no such page.

    Raises: StorageError.
    """
    count = studies.count()
    pages = max(math.ceil(count / ROWS), 1)
    number = min(max(number, 1), pages)
    return ListPage(studies.lines((number - 1) * ROWS, ROWS), number, pages, count)
