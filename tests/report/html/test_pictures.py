"""Rows as pictures: of the study's own rows, or none."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selection.data import fashion_mnist
from selection.data.dataset import load_development
from selection.report.html import pictures as module
from selection.report.html.pictures import Pictures
from selection.report.study_view import StudyView, view_study
from tests.sweep_bench import Bench, make_spec


def view(bench: Bench, data: dict[str, Any]) -> StudyView:
    spec = make_spec({"name": str(data), "data": data}, trials=2, cohort=2)
    return view_study(bench.run(spec), bench.repository)


def test_a_picture_shows_the_row(bench: Bench) -> None:
    digits = view(bench, {"dataset": "digits"})
    address = Pictures().picture(digits, 7)
    head, _, text = address.partition(",")
    assert head == "data:image/png;base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    rows = load_development(digits.spec, bench.folder).features
    assert np.array_equal(image[::7, ::7], np.rint(rows[7].reshape(8, 8) * 255 / 16))


def test_rows_that_are_no_pictures_have_none(bench: Bench) -> None:
    assert Pictures().picture(view(bench, {"dataset": "iris"}), 0) == ""


def test_a_load_that_fails_shows_no_other_studys_rows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = view(bench, {"dataset": "digits"})
    second = view(bench, {"dataset": "digits", "held_out": 0.5})
    pictures = Pictures()
    wrong = pictures.picture(first, 700)

    def fail(_view: StudyView) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(module, "_load", fail)
        with pytest.raises(MemoryError):
            pictures.picture(second, 700)
    rows = [load_development(each.spec, bench.folder).features[700] for each in (first, second)]
    assert not np.array_equal(*rows)
    assert pictures.picture(second, 700) not in ("", wrong)


def test_to_look_at_a_page_fetches_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetch(_folder: Path) -> Path:
        raise AssertionError("fetched")

    monkeypatch.setenv("SELECTION_DATA_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr(fashion_mnist, "fetch_fashion_mnist", fetch)
    digits = view(bench, {"dataset": "digits"})
    spec = make_spec({"data": {"dataset": "fashion_mnist", "held_out": "official"}})
    images: Any = StudyView(digits.study, spec, [], [], [], (0, 0), 0, 0, 0.0, 0)
    assert Pictures().picture(images, 0) == ""
