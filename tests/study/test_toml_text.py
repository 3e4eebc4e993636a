"""Whatever a file holds, a study file that is wrong is an error in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selection.cli.key_value import read_pairs
from selection.errors import StudyFileError, StudyStateError
from selection.study.overrides import with_overrides
from selection.study.spec import parse_study, read_study
from selection.study.toml_text import MOST_BYTES, MOST_LEVELS, read_toml

STUDY = 'name = "größer"\n[data]\ndataset = "iris"\n[space]\nwidth = { choices = [4, 8] }\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "study.toml"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_editors_write_marks_and_line_ends_of_their_own(
    file: Path, encoding: str, end: str
) -> None:
    file.write_bytes(STUDY.replace("\n", end).encode(encoding))
    assert read_study(file).name == "größer"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_refused(file: Path, encoding: str) -> None:
    file.write_bytes(STUDY.encode(encoding))
    with pytest.raises(StudyFileError, match="UTF-8"):
        read_toml(file)


@pytest.mark.parametrize("levels", [MOST_LEVELS + 1, 100, 5_000])
@pytest.mark.parametrize(
    ("before", "unit", "between", "end"),
    [("x = ", "[", "1", "]"), ("x = ", "{a = ", "1", "}"), ("[x", ".x", "]\ny = 1", "")],
)
def test_what_nests_too_deep_is_an_error(
    file: Path, levels: int, before: str, unit: str, between: str, end: str
) -> None:
    file.write_text(f"{before}{unit * levels}{between}{end * levels}\n")
    with pytest.raises(StudyFileError, match="nested at most"):
        read_toml(file)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [MOST_LEVELS, 100_000])
def test_values_from_python_and_the_command_line_are_bounded_too(levels: int) -> None:
    content = {"name": "x", "data": {"dataset": "iris"}, "space": {"width": nested(levels)}}
    with pytest.raises(StudyFileError, match="nested at most"):
        parse_study(content, "study")
    with pytest.raises(StudyFileError, match="nested at most"):
        with_overrides(content, {"seed": 1}, "study")
    with pytest.raises(StudyStateError, match="as in a study file"):
        read_pairs([f"width={'[' * 100_000}"])


def test_a_list_in_itself_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(StudyFileError, match="nested at most"):
        parse_study({"name": "x", "space": {"width": loop}}, "study")


def test_a_file_without_end_is_read_no_further(file: Path) -> None:
    with pytest.raises(StudyFileError, match="bytes"):
        read_toml(Path("/dev/zero"))
    file.write_text("#" * MOST_BYTES)
    assert read_toml(file) == {}
