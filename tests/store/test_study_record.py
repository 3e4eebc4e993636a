"""What a study record gives of its stored study file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from selection.errors import StudyFileError
from selection.store.study_record import StudyRecord
from tests.store.store_examples import FACTS, example_spec


def record(spec_json: dict[str, Any]) -> StudyRecord:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return StudyRecord("u", "example", 1, spec_json, "s", "d", None, FACTS, {}, moment)


def test_a_study_file_is_parsed_once() -> None:
    spec = example_spec()
    found = record(spec.to_json())
    assert found.spec() == spec
    assert found.spec() is found.spec()


def test_a_study_file_that_is_refused_is_refused_every_time() -> None:
    found = record({**example_spec().to_json(), "seed": -1})
    for _ in range(2):
        with pytest.raises(StudyFileError, match="example: seed"):
            found.spec()
