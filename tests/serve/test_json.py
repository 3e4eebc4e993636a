"""The JSON of the server is what the command line prints, on both databases."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.command_line import Cli
from tests.serve.serve_bench import open_server


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", ["studies"]),
        ("/iris", ["status", "iris"]),
        ("/iris/trials", ["trials", "iris"]),
        ("/iris/best", ["best", "iris"]),
    ],
)
def test_it_is_what_the_command_line_prints(
    study_url: str, cli: Cli, path: str, words: list[str]
) -> None:
    with open_server(study_url) as client:
        answer = client.get(f"/selection/api/studies{path}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    printed = cli(*words, "--json", "--storage", study_url)
    assert answer.json() == printed.json
    assert answer.json()


@pytest.mark.parametrize("path", ["/nope", "/nope/trials", "/nope/best", "/iri"])
def test_a_missing_study_is_an_error_in_json(study_url: str, path: str) -> None:
    with open_server(study_url) as client:
        answer = client.get(f"/selection/api/studies{path}")
    assert answer.status_code == 404
    assert "the database must contain the study" in answer.json()["error"]


def test_a_number_that_is_not_defined_is_null(study_url: str) -> None:
    def refuse(text: str) -> Any:
        raise AssertionError(f"{text} is no JSON")

    with open_server(study_url) as client:
        for path in ("", "/iris", "/iris/trials", "/iris/best"):
            text = client.get(f"/selection/api/studies{path}").text
            json.loads(text, parse_constant=refuse)
