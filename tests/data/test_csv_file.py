"""CSV files are read strictly: what is damaged or written otherwise is said by its line."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selection.data import csv_file
from selection.data.csv_file import CsvFile, CsvFormat
from selection.data.rows import Rows
from selection.data.tables import open_table
from selection.errors import DataError
from selection.study.spec import StudySpec

Study = Callable[..., StudySpec]
HEAD = "a,b,y\n"
ROWS = "".join(f"{index},{index / 2},{'uv'[index % 2]}\n" for index in range(6))


def read(study: Study, path: str, **data: Any) -> Rows:
    spec = study({"path": path, "target": "y", **data})
    return open_table(spec.sections.data, spec.task).rows()


def refusal(study: Study, content: str | bytes, path: str = "t.csv", **data: Any) -> str:
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read(study, path, **data)
    return str(caught.value)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + ROWS + "7,8\n", "line 8 has 2 cells, the header has 3"),
        (HEAD + ROWS + "7\n", "line 8 has 1 cell, the header has 3"),
        (HEAD + "1,2,u,\n" + ROWS, "line 2 has 4 cells, the header has 3"),
        (HEAD + '"1\n2",2,u\n1,2\n', "line 4 has 2 cells, the header has 3"),
        (HEAD + "\n\n1,2\n", "line 4 has 2 cells, the header has 3"),
        (
            HEAD + '1,"2"3,u\n',
            "a quote in the row of line 2 that does not close before a delimiter",
        ),
        (HEAD + ROWS + '1,"2,u\n3,4,v\n', "a quote in the row of line 8 that is never closed"),
        ("a,b,c,y\n" + ROWS, "line 2 has 3 cells, the header has 4"),
    ],
)
def test_a_damaged_row_is_named_by_its_line(study: Study, text: str, said: str) -> None:
    message = refusal(study, text, impute="median")
    assert message.startswith("t.csv: must be a csv file, but got ")
    assert said in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ((HEAD + "1,2,café\n").encode("latin-1"), 'latin-1. Set encoding = "latin-1"'),
        ((HEAD + ROWS).encode("utf-16"), 'utf-16. Set encoding = "utf-16"'),
        ((HEAD + ROWS).encode("utf-16-le"), 'utf-16. Set encoding = "utf-16"'),
    ],
)
def test_another_encoding_is_named(study: Study, content: bytes, said: str) -> None:
    assert said in refusal(study, content)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "cp1252"])
def test_an_encoding_can_be_stated(study: Study, encoding: str) -> None:
    Path("t.csv").write_bytes((HEAD + "1,2,café\n3,4,thé\n").encode(encoding))
    assert read(study, "t.csv", encoding=encoding).class_names == ("café", "thé")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a;b;y\n1.5;2;u\n", 'separated by ";". Set delimiter = ";" in [data].'),
        ("a;b;y\n1,5;2;u\n", 'Set delimiter = ";" and decimal = "," in [data].'),
        ("a\tb\ty\n1\t2\tu\n", r'separated by tab. Set delimiter = "\t" in [data].'),
        ("a|b|y\n1|2|u\n", 'Set delimiter = "|" in [data].'),
    ],
)
def test_another_delimiter_is_guessed_in_the_message(study: Study, text: str, said: str) -> None:
    assert said in refusal(study, text)


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_delimiter_and_a_decimal_mark_can_be_stated(
    study: Study, delimiter: str, decimal: str
) -> None:
    text = (HEAD + ROWS).replace(",", delimiter).replace(".", decimal)
    Path("t.csv").write_text(text)
    rows = read(study, "t.csv", delimiter=delimiter, decimal=decimal)
    np.testing.assert_array_equal(rows.features[:, 1], np.arange(6) / 2)


def test_a_decimal_comma_in_quotes_is_named(study: Study) -> None:
    text = HEAD + '1,"2,5",u\n3,"4,5",v\n'
    assert 'write decimal = "," in [data]' in refusal(study, text)


@pytest.mark.parametrize("name", ["t.CSV", "t.Csv", "t.csv.gz", "T.CSV.GZ", "t.tsv", "t.tsv.gz"])
def test_suffixes_in_any_case(study: Study, name: str) -> None:
    text = HEAD + ROWS
    if "tsv" in name.lower():
        text = text.replace(",", "\t")
    content = gzip.compress(text.encode()) if name.lower().endswith("gz") else text.encode()
    Path(name).write_bytes(content)
    assert read(study, name).features.shape == (6, 2)


def test_a_compressed_file_that_ends_early(study: Study) -> None:
    content = gzip.compress((HEAD + ROWS * 1000).encode())
    assert "a compressed file must be whole" in refusal(study, content[:-20], "t.csv.gz")


@pytest.mark.parametrize(
    "url", ["http://host/t.csv", "https://host/t.csv", "s3://bucket/t.csv", "file:///t.csv"]
)
def test_a_url_is_refused_as_a_url(study: Study, url: str) -> None:
    with pytest.raises(DataError, match="a file on this machine, but got a URL"):
        read(study, url)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(study: Study) -> None:
    os.mkfifo("t.csv")
    with pytest.raises(DataError, match="must be a regular file"):
        read(study, "t.csv")
    Path("z.csv").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="must be a regular file"):
        read(study, "z.csv")
    with pytest.raises(DataError, match="must be readable"):
        read(study, "a\0b.csv")


def test_a_line_without_an_end_is_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "LONGEST_LINE", 1000)
    assert "a line 2 of more than 1,000 characters" in refusal(study, HEAD + "1" * 5000)
    with Path("t.csv").open("wb") as sparse:
        sparse.truncate(40 * 2**30)
    with pytest.raises(DataError, match="must be a csv file"):
        read(study, "t.csv")


@pytest.mark.parametrize("words", [("None", "NA"), ("null", "NaN")])
def test_words_that_were_read_as_missing_are_told(study: Study, words: tuple[str, str]) -> None:
    text = "a,y\n" + "".join(f"{index},{words[index % 3 > 0]}\n" for index in range(9))
    message = refusal(study, text)
    assert f'y (9): "{words[1]}" 6 rows, "{words[0]}" 3 rows were read as missing' in message
    assert 'write missing = [""] in [data]' in message
    assert read(study, "t.csv", missing=[""]).class_names == tuple(sorted(words))


def test_words_for_a_missing_number_can_be_stated(study: Study) -> None:
    text = HEAD + "1,?,u\n2,-,v\n3,4,u\n"
    assert 'got "?" in row 1' in refusal(study, text, impute="median")
    rows = read(study, "t.csv", impute="median", missing=["?", "-"])
    np.testing.assert_array_equal(rows.features[:, 1], [np.nan, np.nan, 4])


def test_three_thousand_bad_columns_make_ten_lines_and_a_count(study: Study) -> None:
    names = [f"c{index}" for index in range(3000)]
    text = ",".join([*names, "y"]) + "\n" + ("x," * 3000 + "u\n") + ("1," * 3000 + "v\n")
    lines = refusal(study, text).split("\n")
    assert len(lines) == 11
    assert "2,990 more errors" in lines[-1]
    gaps = ",".join([*names, "y"]) + "\n" + ("," * 3000 + "u\n") + ("1," * 3000 + "v\n")
    (line,) = refusal(study, gaps).split("\n")
    assert "c9 (1) and 2,990 more columns" in line


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12))
def test_what_a_csv_writer_wrote_is_read_back(rows: list[tuple[str, str]]) -> None:
    with Path("w.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("first", "second"), *rows])
    batches = CsvFile(Path("w.csv"), CsvFormat()).batches()
    assert next(batches) == [("first",), ("second",)]
    found = [row for batch in batches for row in zip(*batch, strict=True)]
    assert found == rows


def test_rows_are_read_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "CELLS_PER_BATCH", 6)
    Path("t.csv").write_text(HEAD + ROWS)
    header, *batches = CsvFile(Path("t.csv"), CsvFormat()).batches()
    assert header == [("a",), ("b",), ("y",)]
    assert [len(batch[0]) for batch in batches] == [2, 2, 2]
    whole = pd.read_csv("t.csv", dtype=str)
    found = [row for batch in batches for row in zip(*batch, strict=True)]
    assert found == list(whole.itertuples(index=False, name=None))


def test_a_number_may_stand_for_a_missing_value(study: Study) -> None:
    for others in ("1\n-999\n2\n", '1\n-999\n""\n'):
        cells = others.split("\n")[:-1]
        text = "x,y\n" + "".join(f"{cell},{'uv'[index % 2]}\n" for index, cell in enumerate(cells))
        Path("t.csv").write_text(text)
        rows = read(study, "t.csv", missing=["", "-999"], impute="median")
        assert np.isnan(rows.features[1, 0])


def test_a_damaged_compressed_file_is_refused(study: Study) -> None:
    content = bytearray(gzip.compress((HEAD + ROWS * 2000).encode()))
    for place in range(20, len(content) - 20, max(1, len(content) // 30)):
        broken = bytearray(content)
        broken[place] ^= 0xFF
        Path("t.csv.gz").write_bytes(bytes(broken))
        with pytest.raises(DataError):
            read(study, "t.csv.gz")
    Path("t.csv.gz").write_text(HEAD + ROWS)
    with pytest.raises(DataError, match="a compressed file must be whole"):
        read(study, "t.csv.gz")


def test_a_utf_8_file_under_another_encoding_is_named_so(study: Study) -> None:
    text = HEAD + "1,2,café\n3,4,thé\n"
    assert 'Set encoding = "utf-8"' in refusal(study, text, encoding="ascii")
    Path("t.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert read(study, "t.csv", encoding="utf_8").feature_names == ("a", "b")
