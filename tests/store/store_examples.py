"""Small studies and results for the tests of the store; imported by their child processes too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from selection.data.row_hashes import HeldOutRows
from selection.errors import ErrorDetail, StudyStateError
from selection.store.claims import Limits, NewCohort, ResumedCohort
from selection.store.cohorts import Cohorts
from selection.store.curve_points import CurvePoint
from selection.store.leases import Lease, Worker, new_worker, read_leases
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.store.tables import lease_table
from selection.study.class_scores import Calibration, ClassScore
from selection.study.data_facts import DataFacts
from selection.study.held_out_result import ClassReport, HeldOutResult, TrainingSummary
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import (
    CURVE_COLUMNS,
    LAYER_COLUMNS,
    FoldResult,
    LayerCurves,
    LearningCurve,
    Params,
    Scalar,
    TrialResult,
    TrialState,
)

FACTS = DataFacts(
    rows=1437,
    held_out_rows=360,
    features=64,
    inputs=64,
    outputs=2,
    class_counts={"b": 1400, "a, größer": 37},
    fold_kind="stratified",
    folds=("f" * 64, "0" * 64, "a" * 64),
    duplicate_rows=3,
    warnings=("a class is rare",),
)
ENVIRONMENT = {"python": "3.11", "device": "cpu"}
RESULT = HeldOutResult(
    study="example, größer ist besser",
    number=7,
    metric="accuracy",
    score=0.1 + 0.2,
    low=5e-324,
    high=1.7976931348623157e308,
    level=0.95,
    rows=360,
    seeds=(0.3, -0.0, 1e-17),
    evaluations=1,
    corrected_estimate=None,
    gap=None,
    corrected_interval=None,
    prediction_interval=None,
    rule="best",
    model="refit",
    training=TrainingSummary(
        rows=(1437,),
        epochs=3,
        batch_size=32,
        batches_per_epoch=(45,),
        updates=(135,),
        updates_in_cross_validation=108.5,
        running_loss=(None,),
        running_score=(1 / 3,),
    ),
    classes=ClassReport(
        per_class=(ClassScore("a", 200, 2 / 3, 0.5, 0.25), ClassScore("b", 160, None, 0.0, None)),
        confusion=((100, 100), (160, 0)),
        calibration=Calibration(nll=0.7, brier=0.1, ece=1 / 3),
    ),
    scores=None,
    against=None,
)
FOLDS, REPEATS = 3, 2


def example_spec(name: str = "example", **search: object) -> StudySpec:
    """Return a study with every kind of dimension, whose default lies outside the space."""
    content = {
        "name": name,
        "data": {"dataset": "digits", "held_out": 0.2},
        "cv": {"folds": FOLDS, "repeats": REPEATS},
        "space": {
            "width": {"choices": [[64], [32], [16]]},
            "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
            "dropout": {"low": 0.0, "high": 0.65, "step": 0.1},
            "batch_size": {"low": 16, "high": 128, "log": True},
            "activation": {"choices": ["relu", "tanh"]},
            "nesterov": {"choices": [True, False]},
        },
        "training": {"momentum": 0.9},
        "search": {
            "trials": 12,
            "default": {"weight_decay": 0.0, "dropout": 0.25, "width": [128], "batch_size": 4},
            **search,
        },
    }
    return parse_study(content, "example.toml")


def example_params(spec: StudySpec, count: int) -> list[Params]:
    """Return the default and count - 1 further settings inside the space."""
    others: list[Params] = [
        {
            "width": ((64,), (32,), (16,))[index % 3],
            "weight_decay": 1e-6 * 1.7**index,
            "dropout": (index % 7) * 0.1,
            "batch_size": 16 + index % 100,
            "activation": ("relu", "tanh")[index % 2],
            "nesterov": index % 2 == 0,
        }
        for index in range(count - 1)
    ]
    return [spec.default, *others]


def example_result(
    number: int,
    state: TrialState = TrialState.COMPLETE,
    *,
    epochs: int = 7,
    folds: int = FOLDS * REPEATS,
    rows: int = 5,
    layers: int = 0,
) -> TrialResult:
    """Return a result whose every number is a function of the trial's number."""
    generator = np.random.default_rng([number, epochs])
    members = tuple(
        FoldResult(
            repeat=index // FOLDS,
            fold=index % FOLDS,
            curve=LearningCurve(generator.random((epochs, len(CURVE_COLUMNS)))),
            outputs=generator.random((rows, 3)).astype(np.float32)
            if state is TrialState.COMPLETE
            else None,
            layers=example_layers(generator, epochs, layers) if layers else None,
        )
        for index in range(folds)
    )
    reason = "" if state is TrialState.COMPLETE else f"{state} for a test"
    return TrialResult(state, reason, members, epochs, seconds=1.5 + number)


def example_layers(generator: np.random.Generator, epochs: int, layers: int) -> LayerCurves:
    """Return what layers did; the last one, which has no units, has no share of dead ones."""
    points = generator.random((epochs, layers, len(LAYER_COLUMNS)))
    points[:, -1, LAYER_COLUMNS.index("dead_share")] = np.nan
    return LayerCurves(points)


# In the order in which a curve has them: by size, words by the alphabet.
CURVES: dict[str, tuple[Scalar, ...]] = {
    "activation": ("relu", "sigmoid", "tanh"),
    "learning_rate": (5e-324, 1e-05, 0.1 + 0.2, 1.0, 12.5),
    "nesterov": (False, True),
    "rows": (3, 20, 100),
    "width": (8, 16, 128),
}


def example_points(number: int = 0, seed: int = 0) -> list[CurvePoint]:
    """Return points of curves of one trial; of every curve the last one diverged."""
    generator = np.random.default_rng([number, seed])
    points = []
    for over, values in CURVES.items():
        for value in values:
            reason = "diverged: größer" if value == values[-1] else ""
            curves = generator.normal(size=(FOLDS * REPEATS, 4, len(CURVE_COLUMNS)))
            if reason:
                curves[:, -1] = [np.nan, -0.0, np.inf, -np.inf, 5e-324, np.nan]
            folds = tuple(
                FoldResult(index // FOLDS, index % FOLDS, LearningCurve(curve))
                for index, curve in enumerate(curves)
            )
            points.append(CurvePoint(number, over, value, folds, reason))
    return points


def point_bits(points: Sequence[CurvePoint]) -> list[str]:
    """Return points such that they can be compared bit for bit; 1 is not 1.0 nor True."""
    return [
        repr((point.number, point.over, point.value, point.reason))
        + "".join(
            repr((fold.repeat, fold.fold, fold.curve.points.shape))
            + fold.curve.points.tobytes().hex()
            for fold in point.folds
        )
        for point in points
    ]


def create_example(records: Records, spec: StudySpec | None = None) -> StudyRecord:
    """Begin a study with made-up facts."""
    return records.create_study(spec or example_spec(), "d" * 64, "h" * 64, FACTS, ENVIRONMENT)


def begin_example(
    records: Records,
    study: StudyRecord,
    count: int,
    cohort: int = 0,
    params: Sequence[Params] | None = None,
) -> list[int]:
    """Begin the next cohort, of count trials, as a worker that nobody has met before."""
    cohorts = Cohorts(records._database)
    worker = new_worker(600.0, is_alone=False)
    claim = cohorts.claim(study, worker, Limits(trials=10**6, cohort=count))
    if not isinstance(claim, NewCohort) or claim.lease.cohort != cohort:
        if isinstance(claim, NewCohort | ResumedCohort):
            cohorts.release(study, claim.lease)
        raise StudyStateError(ErrorDetail(study.name, "the next cohort", str(claim), ""))
    asked = example_params(study.spec(), count) if params is None else params
    try:
        return cohorts.begin(study, claim.lease, asked, study.space)
    except BaseException:
        cohorts.release(study, claim.lease)
        raise


def lease_of(records: Records, study: StudyRecord, cohort: int) -> Lease:
    """Return the lease of a cohort as its worker has it; one that never was, if there is none."""
    with records._database.reading() as connection:
        row = read_leases(connection, study).get(cohort)
    if row is None:
        return Lease(cohort, new_worker(600.0, is_alone=False), attempt=0)
    return Lease(
        cohort, Worker(row.worker, row.place, row.home, 600.0, is_alone=False), row.attempt
    )


def finish_example(
    records: Records, study: StudyRecord, results: Mapping[int, TrialResult], cohort: int = 0
) -> None:
    """Finish trials of one cohort, as the worker that holds it."""
    Cohorts(records._database).finish(study, lease_of(records, study, cohort), results)


def release_example(records: Records, study: StudyRecord, cohort: int = 0) -> None:
    """Give a cohort back, as the worker that holds it."""
    Cohorts(records._database).release(study, lease_of(records, study, cohort))


def restart_example(records: Records, study: StudyRecord) -> list[tuple[int, Params]]:
    """Take up the first cohort that is not finished, as the one process that is left alive."""
    long_ago = sa.update(lease_table).values(expires_at=datetime(2000, 1, 1))
    with records._database.writing() as connection:
        connection.execute(long_ago.where(lease_table.c.study_uuid == study.uuid))
    worker = new_worker(600.0, is_alone=True)
    claim = Cohorts(records._database).claim(study, worker, Limits(trials=0, cohort=1))
    found = claim.trials if isinstance(claim, ResumedCohort) else ()
    return [(trial.number, trial.params) for trial in found]


def same_members(left: Sequence[FoldResult], right: Sequence[FoldResult]) -> bool:
    """Say whether members are equal bit for bit, predictions included."""
    return len(left) == len(right) and all(
        (a.repeat, a.fold) == (b.repeat, b.fold)
        and a.curve.points.tobytes() == b.curve.points.tobytes()
        and (a.outputs is None) == (b.outputs is None)
        and (a.outputs is None or b.outputs is None or np.array_equal(a.outputs, b.outputs))
        and (a.layers is None) == (b.layers is None)
        and (
            a.layers is None
            or b.layers is None
            or a.layers.points.tobytes() == b.layers.points.tobytes()
        )
        for a, b in zip(left, right, strict=True)
    )


def example_held_out(*rows: int, table: str = "t" * 64) -> HeldOutRows:
    """Return held-out rows of a table by numbers that stand for their hashes."""
    hashes = np.array(rows, dtype=np.uint64)
    return HeldOutRows(hashes, hashes + np.uint64(2**62), hashes + np.uint64(2**63), table)
