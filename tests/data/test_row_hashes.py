"""Rows are known again by their cells, whatever the order, names and spelling of the columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selection.data.dataset import Dataset, load_development
from selection.data.row_hashes import count_shared, hash_numbers, hash_text
from selection.study.spec import StudySpec

Study = Callable[..., StudySpec]
Table = Callable[..., str]


def load(study: Study, path: str, seed: int = 0, **data: Any) -> Dataset:
    spec = study({"path": path, "target": "y", "categorical": ["colour"], **data}, seed=seed)
    return load_development(spec, Path("nowhere"))


def shared(one: Dataset, other: Dataset) -> tuple[int, int]:
    """Return how many held-out rows of one are among those of the other, and how many there are."""
    assert one.held_out_identities is not None
    assert other.held_out_identities is not None
    return one.held_out_identities.shared_with(other.held_out_identities), len(
        one.held_out_identities
    )


def reorder(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame.columns[::-1]]


def spell(frame: pd.DataFrame) -> pd.DataFrame:
    spelt = frame.assign(number=[f"{value:.3f}" for value in frame["number"]])
    return spelt.assign(site=[f" {value}.0" for value in frame["site"]])


def as_float32(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"noise": np.float32, "number": np.float32})


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "columns in another order": reorder,
    "a column renamed": lambda frame: frame.rename(columns={"noise": "sound"}),
    "all features renamed": lambda frame: frame.rename(columns={"noise": "n", "number": "m"}),
    "a constant column": lambda frame: frame.assign(batch="b7"),
    "an index column": lambda frame: frame.reset_index(names="Unnamed: 0"),
    "other spellings": spell,
    "float32": as_float32,
}


# A Parquet file has numbers, not their spelling.
PAIRS = [
    (change, name)
    for change in CHANGES
    for name in ("t.csv", "t.parquet")
    if (change, name) != ("other spellings", "t.parquet")
]


@pytest.mark.parametrize(("change", "name"), PAIRS)
def test_the_same_rows_are_known_again(
    study: Study, table: Table, frame: pd.DataFrame, change: str, name: str
) -> None:
    own = load(study, table(frame))
    changed = CHANGES[change](frame)
    other = load(study, table(changed, name), drop=["batch"] if "batch" in changed else [])
    assert shared(own, other) == (12, 12)


def test_rows_that_stay_are_counted_where_others_go(
    study: Study, table: Table, frame: pd.DataFrame
) -> None:
    held_out = {"column": "part", "value": 1}
    frame["part"] = (frame["number"] >= 40).astype(int)
    own = load(study, table(frame), held_out=held_out)
    fewer = load(study, table(frame.drop(index=45)), held_out=held_out)
    assert shared(own, fewer) == (19, 20)
    longer = frame.assign(part=(frame["number"] >= 30).astype(int))
    assert shared(own, load(study, table(longer), held_out=held_out)) == (20, 20)
    changed = frame.assign(noise=frame["noise"].where(frame["number"] != 50, 3.5))
    assert shared(own, load(study, table(changed), held_out=held_out)) == (19, 20)


def test_another_seed_and_another_order_are_the_same_table(
    study: Study, table: Table, frame: pd.DataFrame
) -> None:
    frame = frame.drop(columns="number")
    own = load(study, table(frame))
    others = [
        load(study, table(frame), seed=1),
        load(study, table(frame.sample(frac=1.0, random_state=3)), seed=2),
    ]
    for other in others:
        count, rows = shared(own, other)
        assert 0 < count < rows
        assert own.held_out_identities is not None
        assert other.held_out_identities is not None
        assert own.held_out_identities.table == other.held_out_identities.table
    elsewhere = load(study, table(frame.assign(noise=frame["noise"] + 1.0)))
    assert shared(own, elsewhere)[0] == 0


def test_a_study_must_keep_its_held_out_rows_to_the_cell(
    study: Study, table: Table, frame: pd.DataFrame
) -> None:
    """What is known again may differ in names; what a study began with may not."""
    own = load(study, table(frame)).held_out_fingerprint
    for change in ("a column renamed", "an index column"):
        assert load(study, table(CHANGES[change](frame))).held_out_fingerprint != own


def test_spellings_of_one_value_have_one_hash() -> None:
    for text, value in (("0", -0.0), ("1e3", 1000.0), (" 0.10", 0.1), ("0.1", np.float32(0.1))):
        assert hash_text(text) == hash_numbers(np.array([value], dtype=np.float64))[0]
    assert hash_text("True") == hash_text("TRUE ")
    assert hash_text("True") != hash_text("1")
    assert len({int(hash_text(text)) for text in ("a", "A", "b", "1", "2", "nan")}) == 6


def test_doubled_rows_count_as_often_as_both_have_them() -> None:
    one, other = (np.array(rows, dtype=np.uint64) for rows in ([1, 1, 1, 2, 5], [1, 1, 2, 2, 7]))
    assert count_shared(one, other) == count_shared(other, one) == 3


def test_many_rows_have_many_hashes() -> None:
    values = np.arange(200_000, dtype=np.float64)
    assert len(np.unique(hash_numbers(values))) == len(values)
    assert len(np.unique(hash_numbers(values / 1000))) > 0.99 * len(values)


@pytest.mark.parametrize("kinds", [2, 3])
def test_rows_of_few_values_are_no_copies_and_no_acquaintances(
    study: Study, table: Table, kinds: int
) -> None:
    """Sums of cells without their columns are equal by chance."""
    found = []
    for seed, names in enumerate(("abcdefghijklmnopqrst", "ABCDEFGHIJKLMNOPQRST")):
        generator = np.random.default_rng(seed)
        values = generator.integers(0, kinds, size=(500, 20))
        frame = pd.DataFrame(values, columns=list(names)).drop_duplicates()
        frame["y"] = generator.choice(["yes", "no"], len(frame))
        spec = study({"path": table(frame), "target": "y"})
        found.append(load_development(spec, Path("nowhere")))
        assert found[-1].warnings == ()
    assert shared(*found)[0] == 0
    assert shared(found[0], found[0]) == (100, 100), "under their names they are known again"


def test_features_of_different_whole_numbers_tell_rows_apart(study: Study, table: Table) -> None:
    found = []
    for seed in (1, 2):
        generator = np.random.default_rng(seed)
        people = generator.choice(10**7, 80, replace=False)
        frame = pd.DataFrame(
            {"people": people, "price": generator.choice(10**6, 80, replace=False)}
        )
        spec = study({"path": table(frame), "target": "price"}, metric="rmse")
        found.append(load_development(spec, Path("nowhere")))
        assert found[-1].warnings == ()
    assert shared(*found)[0] == 0
    assert shared(found[0], found[0]) == (16, 16)
