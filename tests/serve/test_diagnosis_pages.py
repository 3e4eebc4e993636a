"""Pages and report show diagnoses, stored curves and layers as the record has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from selection.store.repository import Repository, open_repository
from selection.workflows.diagnose import diagnose_points
from tests.serve.serve_bench import Page, cells, open_server, wait_for_answer
from tests.sweep_bench import Bench, make_spec

ROOT = "/selection/studies/iris/"


def shown_mean(values: Any) -> str:
    """Return the mean over folds and its standard error as pages show them."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.4f} ± {error:.4f}"


def last(folds: Any, name: str) -> Any:
    return np.array([fold.curve.column(name)[-1] for fold in folds])


@pytest.fixture
def repository(sqlite_study: str) -> Iterator[Repository]:
    with open_repository(sqlite_study) as repository:
        yield repository


def test_a_diagnosis_stands_on_the_losses_and_scores_of_the_folds(
    client: TestClient, repository: Repository
) -> None:
    page = wait_for_answer(client, "iris")
    number = client.get("/selection/api/studies/iris/best").json()["number"]
    folds = repository.records.curves(repository.study("iris"), number)
    linear = [
        each.score
        for each in repository.evidence.baselines(repository.study("iris"))
        if each.name == "linear"
    ]
    report = client.get(f"{ROOT}export/report.html").text
    for text in (page, client.get(f"{ROOT}trials/{number}").text, report):
        lines = {line[0]: line[1:] for line in cells(text, "What the diagnosis rests on")}
        for part in ("training", "validation"):
            loss, score = last(folds, f"{part}_loss"), last(folds, f"{part}_score")
            assert lines[part] == [shown_mean(loss), shown_mean(score)]
        gap = last(folds, "validation_loss") - last(folds, "training_loss")
        shown, interval = lines["gap"][0].split(" [")
        assert shown == shown_mean(gap)
        low, high = map(float, interval.rstrip("]").split(", "))
        assert low < gap.mean() < high
        assert lines["validation, baseline linear"][1] == shown_mean(linear)
        assert float(lines["validation, baseline majority"][0].split()[0]) == pytest.approx(
            np.log(3), abs=1e-3
        )


def test_stored_curves_are_shown_with_a_verdict_for_each_point(
    client: TestClient, repository: Repository
) -> None:
    page = wait_for_answer(client, "iris")
    study = repository.study("iris")
    number = client.get("/selection/api/studies/iris/best").json()["number"]
    titles = {
        "rows": f"Sample-size curve, setting of trial {number}",
        "width": f"Validation curve over width, all else as in trial {number}",
    }
    report = client.get(f"{ROOT}export/report.html").text
    for text in (page, report):
        assert text.index('id="charts-title"') < text.index('id="stored-curves-title"')
        for over, title in titles.items():
            points = [each for each in repository.curves.points(study) if each.over == over]
            found = diagnose_points(study, study.spec(), repository, points)
            lines = cells(text, f"Points of {title}")
            assert [line[0] for line in lines] == [str(point.value) for point in points]
            for point, own, line in zip(points, found, lines, strict=True):
                assert own is not None
                assert line[1] == own.verdict.value
                assert line[2] == shown_mean(last(point.folds, "validation_score"))
                assert line[3] == shown_mean(last(point.folds, "training_score"))
                gap = last(point.folds, "validation_loss") - last(point.folds, "training_loss")
                interval = f" [{own.gap_low:.4f}, {own.gap_high:.4f}]"
                assert line[4] == shown_mean(gap) + interval
                assert f"{point.value}: {own.rule}" in Page(text).text
    assert "all sizes take about the same number of updates" in page
    assert "nested subsets of the training rows" in page.lower()
    assert "All trials against width" in page


def test_a_trial_shows_what_its_layers_did(client: TestClient, repository: Repository) -> None:
    trials = client.get("/selection/api/studies/iris/trials").json()
    number = next(each["number"] for each in trials if each["state"] == "pruned")
    page = Page(client.get(f"{ROOT}trials/{number}").text)
    for name, title in (
        ("gradient-norm", "Gradient norm by layer"),
        ("weight-norm", "Weight norm by layer"),
        ("dead-units", "Dead ReLU units by layer"),
    ):
        assert title in page.text
        assert f"{ROOT}figures/{name}.json?trial={number}" in page.all("div", "data-src")
    folds = repository.records.curves(repository.study("iris"), number)
    norms = np.mean([fold.layers.points[:, :, 1] for fold in folds if fold.layers], axis=0)
    figure: Any = client.get(f"{ROOT}figures/weight-norm.json?trial={number}").json()
    for layer, trace in enumerate(figure["data"]):
        assert trace["y"] == pytest.approx(norms[:, layer].tolist(), rel=1e-4)


def test_without_layers_and_curves_pages_say_nothing_of_them(bench: Bench) -> None:
    bench.procedure(make_spec(trials=2, cohort=2))
    with open_server(bench.database.address.secret_url) as client:
        page = wait_for_answer(client, "iris")
        assert "What the diagnosis rests on" in page
        assert "stored-curves-title" not in page
        assert "by layer" not in client.get(f"{ROOT}trials/0").text
        for name in ("gradient-norm", "weight-norm", "dead-units", "point-curve"):
            assert client.get(f"{ROOT}figures/{name}.json?trial=0&over=width").json() is None
