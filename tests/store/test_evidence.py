"""What an assessment rests on, on both databases: kept once, read back as it was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from selection.errors import StorageError, StudyStateError
from selection.store.database import Database
from selection.store.evidence import BaselineFold, Evidence, OuterFold, RowFacts, StoredModel
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.store.tables import (
    baseline_table,
    held_out_table,
    metadata,
    model_table,
    nested_table,
    rows_table,
)
from selection.study.spec import parse_study
from selection.study.trial import Params
from tests.store.store_examples import (
    ENVIRONMENT,
    FACTS,
    create_example,
    example_held_out,
    example_spec,
)

NAMES = ("rows", "held_out", "baseline", "nested", "model")
TABLES = tuple(metadata.tables[f"selection_{name}"] for name in NAMES)
CLASSES = np.array([2, 0, 1, 2**40, 1, 0, 2], dtype=np.int64)
REALS = np.array([0.1 + 0.2, -0.0, 5e-324, -1.7976931348623157e308, 1 / 3, 7.0, -2.5])
GROUPS = np.array([3, 3, -1, 2**40, 0, 0, 5], dtype=np.int64)
# Two repeats; the first row of one of them is never validated, as in a series of time.
FOLDS = np.array([[-1, -1, 0, 0, 1, 1, 2], [2, 0, 1, 2, 0, 1, 0]], dtype=np.int64)


@pytest.fixture
def evidence(database: Database) -> Evidence:
    return Evidence(database)


def regression_study(records: Records) -> StudyRecord:
    """Begin a study whose targets are real numbers."""
    content = example_spec("regression", metric="rmse").to_json()
    content["data"] = {"path": "houses.csv", "target": "price"}
    spec = parse_study(content, "regression.toml")
    assert spec.task == "regression"
    return records.create_study(spec, "d" * 64, None, FACTS, ENVIRONMENT)


def example_rows(seed: int = 0, *, groups: bool = True) -> RowFacts:
    """Return rows of a classification."""
    return RowFacts(CLASSES + seed, FOLDS, GROUPS + seed if groups else None)


def example_baselines(seed: int = 0, columns: int = 3) -> list[BaselineFold]:
    """Return two baselines on two repeats of two folds, by name, repeat and fold."""
    generator = np.random.default_rng(seed)
    folds = [
        BaselineFold(name, repeat, fold, generator.normal(), f"{name}, größer {seed}", outputs)
        for name in ("linear", "majority")
        for repeat in range(2)
        for fold in range(2)
        # Not in the order in which bytes are stored, and of different lengths.
        for outputs in [generator.normal(size=(columns, 3 + fold)).astype(np.float32).T]
    ]
    folds[0].outputs[:3, 0] = [-np.inf, -0.0, np.nan]
    return folds


def example_outer(fold: int, seed: int = 0) -> OuterFold:
    """Return an outer fold whose params have every kind of value, tuples too."""
    params: Params = {
        "width": (64, 32 + seed),
        "dropout": (0.1, 0.1 + 0.2, 0.0),
        "weight_decay": 1e-6 / 3,
        "batch_size": 16,
        "l2": 1.0,
        "activation": "tanh",
        "nesterov": True,
    }
    return OuterFold(fold, 11 + seed, params, 0.1 + 0.2 + fold, -1 / 3 - fold - seed)


def example_models(seed: int = 0) -> list[StoredModel]:
    """Return final models of three seeds, with every byte in their weights."""
    every = bytes(range(256))
    documents: list[Mapping[str, Any]] = [
        {"model": "refit", "mean": [0.1 + 0.2, 5e-324], "names": ["größe", "b"], "none": None},
        {"model": "fold_ensemble", "training": {"rows": [4, 5], "updates": 2**60 + seed}},
        {},
    ]
    return [
        StoredModel(index, document, every * (index + 1) + bytes([seed]))
        for index, document in enumerate(documents)
    ]


def keep_all(evidence: Evidence, study: StudyRecord, seed: int = 0) -> None:
    """Keep a piece of every kind."""
    evidence.keep_rows(study, example_rows(seed))
    evidence.keep_held_out_rows(study, example_held_out(seed, 7))
    evidence.keep_baselines(study, example_baselines(seed))
    evidence.keep_outer_fold(study, example_outer(0, seed))
    evidence.keep_models(study, 4, example_models(seed))


def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the tables of evidence hold."""
    with database.reading() as connection:
        rows = {
            table.name: [tuple(row) for row in connection.execute(sa.select(table))]
            for table in TABLES
        }
    return {name: sorted(found, key=repr) for name, found in rows.items()}


def bits(array: NDArray[Any] | None) -> tuple[Any, ...] | None:
    """Return all there is to an array such that it can be compared."""
    return None if array is None else (array.dtype.str, array.shape, array.tobytes())


def all_bits(pieces: Sequence[Any]) -> list[dict[str, Any]]:
    """Return pieces of evidence such that they can be compared bit for bit."""
    return [
        {
            name: bits(cast("NDArray[Any] | None", value))
            if value is None or isinstance(value, np.ndarray)
            else repr(value)
            for name, value in vars(piece).items()
        }
        for piece in pieces
    ]


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_rows_are_read_back_bit_for_bit(
    records: Records, evidence: Evidence, task: str, groups: NDArray[np.int64] | None
) -> None:
    is_regression = task == "regression"
    study = regression_study(records) if is_regression else create_example(records)
    facts = RowFacts(REALS if is_regression else CLASSES, FOLDS, groups)
    evidence.keep_rows(study, facts)
    read = evidence.rows(study)
    assert read is not None
    assert bits(read.targets) == bits(facts.targets)
    assert bits(read.folds) == bits(FOLDS)
    assert bits(read.groups) == bits(groups)


def test_one_repeat_of_folds_keeps_its_shape(records: Records, evidence: Evidence) -> None:
    study = create_example(records)
    # Every other column of a wider array: its bytes do not lie side by side.
    folds = np.repeat(FOLDS[:1], 2, axis=1)[:, ::2]
    evidence.keep_rows(study, RowFacts(np.repeat(CLASSES, 2)[::2], folds, None))
    read = evidence.rows(study)
    assert read is not None
    assert bits(read.folds) == bits(FOLDS[:1])
    assert bits(read.targets) == bits(CLASSES)


def test_nothing_to_keep_is_no_error(records: Records, evidence: Evidence) -> None:
    study = create_example(records)
    evidence.keep_baselines(study, [])
    evidence.keep_models(study, 0, [])
    assert evidence.baselines(study) == []
    evidence.keep_baselines(study, example_baselines())
    assert len(evidence.baselines(study)) == len(example_baselines())


@pytest.mark.parametrize("columns", [1, 3])
def test_baselines_are_read_back_bit_for_bit_and_in_order(
    records: Records, evidence: Evidence, columns: int
) -> None:
    study = create_example(records)
    folds = example_baselines(columns=columns)
    evidence.keep_baselines(study, iter(folds[::-1]))
    read = evidence.baselines(study)
    assert [(fold.name, fold.repeat, fold.fold) for fold in read] == [
        (name, repeat, fold)
        for name in ("linear", "majority")
        for repeat in (0, 1)
        for fold in (0, 1)
    ]
    assert all_bits(read) == all_bits(folds)
    assert {fold.outputs.shape for fold in read} == {(3, columns), (4, columns)}


def test_outer_folds_are_read_back_as_they_were_and_in_order(
    records: Records, evidence: Evidence
) -> None:
    study = create_example(records)
    outers = [example_outer(fold) for fold in (0, 1, 2, 10)]
    for outer in (outers[3], outers[1], outers[0], outers[2]):
        evidence.keep_outer_fold(study, outer)
    read = evidence.outer_folds(study)
    assert read == outers
    # 1 and 1.0 and True are equal; their kinds are not.
    assert repr(read) == repr(outers)
    assert isinstance(read[0].params["width"], tuple)


def test_models_are_read_back_bit_for_bit_and_by_seed(records: Records, evidence: Evidence) -> None:
    study = create_example(records)
    models, others = example_models(), example_models(1)
    evidence.keep_models(study, 4, models[::-1])
    evidence.keep_models(study, 5, others)
    assert all_bits(evidence.models(study, 4)) == all_bits(models)
    assert all_bits(evidence.models(study, 5)) == all_bits(others)
    assert {type(model.weights) for model in evidence.models(study, 4)} == {bytes}
    assert evidence.models(study, 6) == []


def test_what_is_there_is_not_written_again(
    records: Records, evidence: Evidence, database: Database
) -> None:
    study = create_example(records)
    keep_all(evidence, study)
    before = contents(database)
    assert {name: len(rows) for name, rows in before.items()} == {
        "selection_rows": 1,
        "selection_held_out": 1,
        "selection_baseline": 8,
        "selection_nested": 1,
        "selection_model": 3,
    }
    keep_all(evidence, study)
    assert contents(database) == before


def test_what_is_there_stays_when_other_content_comes_later(
    records: Records, evidence: Evidence, database: Database
) -> None:
    study, other = create_example(records), create_example(records, example_spec("other"))
    keep_all(evidence, study)
    before = contents(database)
    keep_all(evidence, study, seed=1)
    evidence.keep_rows(study, example_rows(groups=False))
    evidence.keep_models(study, 4, [replace(model, document={}) for model in example_models()])
    assert contents(database) == before
    assert all_bits(evidence.models(study, 4)) == all_bits(example_models())
    # The other content is not at error.
    keep_all(evidence, other, seed=1)
    assert all_bits(evidence.models(other, 4)) == all_bits(example_models(1))


def test_later_pieces_join_earlier_ones(records: Records, evidence: Evidence) -> None:
    study = create_example(records)
    keep_all(evidence, study)
    evidence.keep_outer_fold(study, example_outer(1, 3))
    evidence.keep_models(study, 9, example_models(3))
    assert evidence.outer_folds(study) == [example_outer(0), example_outer(1, 3)]
    assert all_bits(evidence.models(study, 4)) == all_bits(example_models())
    assert all_bits(evidence.models(study, 9)) == all_bits(example_models(3))


def test_pieces_are_kept_whole_or_not_at_all(
    records: Records, evidence: Evidence, database: Database
) -> None:
    study = create_example(records)
    twice = example_models()
    with pytest.raises(sa.exc.IntegrityError):
        evidence.keep_models(study, 4, [*twice, twice[-1]])
    folds = example_baselines()
    with pytest.raises(sa.exc.IntegrityError):
        evidence.keep_baselines(study, [*folds, folds[-1]])
    assert set(map(len, contents(database).values())) == {0}


def test_study_without_evidence_has_none(records: Records, evidence: Evidence) -> None:
    other, unknown = create_example(records, example_spec("other")), create_example(records)
    keep_all(evidence, other)
    assert evidence.rows(unknown) is None
    assert evidence.baselines(unknown) == []
    assert evidence.outer_folds(unknown) == []
    assert evidence.models(unknown, 4) == []


def test_deleting_through_optuna_takes_the_evidence_of_that_study_only(
    records: Records, evidence: Evidence, database: Database
) -> None:
    kept, study = create_example(records, example_spec("kept")), create_example(records)
    keep_all(evidence, kept)
    before = contents(database)
    keep_all(evidence, study, seed=1)
    assert all(len(rows) > len(before[name]) for name, rows in contents(database).items())
    optuna.delete_study(study_name=study.name, storage=database.storage)
    assert contents(database) == before
    assert all_bits(evidence.models(kept, 4)) == all_bits(example_models())


@pytest.mark.parametrize(
    "damage",
    [
        lambda weights: b"",
        lambda weights: weights[:-1],
        lambda weights: weights + b"\0",
        lambda weights: weights[:9] + bytes([weights[9] ^ 1]) + weights[10:],
    ],
    ids=["empty", "short", "long", "one bit"],
)
def test_damaged_weights_are_seen(
    records: Records, evidence: Evidence, database: Database, damage: Callable[[bytes], bytes]
) -> None:
    study = create_example(records)
    models = example_models()
    evidence.keep_models(study, 4, models)
    evidence.keep_models(study, 5, models)
    is_row = (model_table.c.number == 4) & (model_table.c.seed == 2)
    update = sa.update(model_table).where(is_row).values(weights=damage(models[2].weights))
    with database.writing() as connection:
        assert connection.execute(update).rowcount == 1
    with pytest.raises(StorageError, match="changed bytes in the final model of trial 4") as caught:
        evidence.models(study, 4)
    assert "Restore the database from a backup." in str(caught.value)
    assert all_bits(evidence.models(study, 5)) == all_bits(models)


@pytest.mark.parametrize(
    "keep",
    [
        lambda evidence, study: evidence.keep_rows(study, example_rows()),
        lambda evidence, study: evidence.keep_held_out_rows(study, example_held_out(1, 2)),
        lambda evidence, study: evidence.keep_baselines(study, example_baselines()),
        lambda evidence, study: evidence.keep_outer_fold(study, example_outer(0)),
        lambda evidence, study: evidence.keep_models(study, 4, example_models()),
    ],
    ids=["rows", "held-out rows", "baselines", "outer fold", "models"],
)
def test_nothing_is_kept_of_a_deleted_study(
    records: Records,
    evidence: Evidence,
    database: Database,
    keep: Callable[[Evidence, StudyRecord], None],
) -> None:
    study = create_example(records)
    optuna.delete_study(study_name=study.name, storage=database.storage)
    with pytest.raises(StudyStateError, match="a deleted study"):
        keep(evidence, study)
    # Not under the name and the ids of a new study either.
    new = create_example(records)
    with pytest.raises(StudyStateError, match="a deleted study"):
        keep(evidence, study)
    assert set(map(len, contents(database).values())) == {0}
    keep(evidence, new)
    assert sorted(map(len, contents(database).values()))[-1] > 0


@pytest.mark.parametrize(
    ("table", "change", "what"),
    [
        (rows_table, {"targets": b"12345678" * 5}, "rows"),
        (rows_table, {"targets": b"1"}, "rows"),
        (held_out_table, {"table_hash": "u" * 64}, "held-out rows"),
        (baseline_table, {"score": 0.123}, "baselines"),
        (baseline_table, {"outputs": b"1234"}, "baselines"),
        (nested_table, {"score": 0.99}, "outer folds"),
        (model_table, {"document_json": '{"model": "other"}'}, "final model of trial 4"),
    ],
)
def test_damage_anywhere_is_seen(
    records: Records,
    evidence: Evidence,
    database: Database,
    table: sa.Table,
    change: dict[str, Any],
    what: str,
) -> None:
    study = create_example(records)
    evidence.keep_rows(study, example_rows())
    evidence.keep_held_out_rows(study, example_held_out(1, 2))
    evidence.keep_baselines(study, example_baselines())
    evidence.keep_outer_fold(study, example_outer(0))
    evidence.keep_models(study, 4, example_models())
    with database.writing() as connection:
        connection.execute(sa.update(table).values(change))
    readers: dict[str, Callable[[], object]] = {
        "rows": lambda: evidence.rows(study),
        "held-out rows": lambda: evidence.held_out_rows(study),
        "baselines": lambda: evidence.baselines(study),
        "outer folds": lambda: evidence.outer_folds(study),
        "final model of trial 4": lambda: evidence.models(study, 4),
    }
    with pytest.raises(StorageError, match=f"changed bytes in the {what}"):
        readers.pop(what)()
    assert all(read() for read in readers.values())
