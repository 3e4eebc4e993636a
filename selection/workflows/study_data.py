"""How a study is entered: its development rows, its folds, and its record.

Nothing here trains. A study that has begun keeps its rows, its folds, and all of its file that
trials depend on.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.dataset import Dataset, earlier_identity, load_development
from selection.data.folds import (
    FoldPlan,
    duplicate_rows_across_folds,
    fold_fingerprint,
    fold_identity,
    fold_kind,
    make_splits,
)
from selection.data.prepare import prepare_folds
from selection.data.scale_check import check_scale
from selection.errors import (
    DISTRIBUTION,
    DataError,
    ErrorDetail,
    StudyStateError,
    location_name,
    show,
)
from selection.search import judged_epochs
from selection.stats.scores import compact, reduce_outputs
from selection.store.evidence import RowFacts
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.study.changes import RECORDED, Difference, differences
from selection.study.data_facts import DataFacts
from selection.study.recipes import RecipeFacts
from selection.study.spec import StudySpec, most_features
from selection.study.trial import Outputs
from selection.train.device import Device
from selection.train.fit import RungPredictions, Trainer
from selection.workflows.loss_checks import (
    check_class_weights,
    check_weights,
    momentum_warnings,
    smoothing_warnings,
)
from selection.workflows.warm_start import warm_start

# No trial depends on these: a table may lie elsewhere and be written otherwise, as long as its
# rows are the same.
UNRECORDED = (
    "assessment.baselines",
    "data.decimal",
    "data.delimiter",
    "data.encoding",
    "data.missing",
    "data.path",
    "search.audit",
    "search.max_retries",
    "search.max_consecutive_failures",
    "training.diagnostics",
)
# What a recipe may have made of the number of rows.
ROWS_DECIDE = ("training.batch_size", "training.epochs")
# Where a study trains is said anew by every run.
WHERE = "run."
PACKAGES = (DISTRIBUTION, "torch", "optuna", "scikit-learn", "numpy")


def installed_versions() -> dict[str, str]:
    """Return the versions that a result may depend on; ours by the name of its import."""
    versions = {name: version(name) for name in PACKAGES}
    return {"selection": versions.pop(DISTRIBUTION), **versions}


@dataclass(frozen=True, eq=False)
class StudyData:
    """Hold the development rows of a study and their folds.

    spec is the study with what its recipe says of these rows. frame is the table that a study of
    arrays was given, held-out rows included; folder is that of fetched data sets.
    """

    spec: StudySpec
    dataset: Dataset
    plan: FoldPlan
    facts: DataFacts
    frame: pd.DataFrame | None = None
    folder: Path = Path()


def load_study_data(spec: StudySpec, folder: Path, frame: pd.DataFrame | None = None) -> StudyData:
    """Load the development rows and split them; nothing is written.

    Raises: DataError if the rows cannot be had or break a rule of the study.
    """
    dataset = load_development(spec, folder, frame)
    spec = spec.with_rows(_row_facts(spec, dataset))
    _check_features(spec, dataset)
    check_class_weights(spec, dataset)
    check_scale(dataset, spec)
    plan = make_splits(dataset, spec)
    check_weights(spec, dataset, plan)
    folds = [fold_identity(split) for split in plan.splits]
    warnings = [*dataset.warnings, *plan.warnings, *_provenance_warnings(spec, dataset, folds)]
    warnings += [*smoothing_warnings(spec), *momentum_warnings(spec)]
    duplicates = duplicate_rows_across_folds(dataset, plan.splits)
    if duplicates:
        warnings.append(
            f"{duplicates} development rows have an exact copy in another fold: copies leak. "
            "Give copies one group, or drop them."
        )
    facts = DataFacts(
        rows=len(dataset),
        held_out_rows=dataset.held_out_rows,
        features=dataset.features.shape[1] + len(dataset.categories),
        inputs=dataset.inputs,
        outputs=len(dataset.class_names) or 1,
        class_counts=dataset.class_counts,
        fold_kind=fold_kind(dataset, spec),
        folds=tuple(folds),
        duplicate_rows=duplicates,
        warnings=tuple(warnings),
    )
    return StudyData(spec, dataset, plan, facts, frame, folder)


def _row_facts(spec: StudySpec, dataset: Dataset) -> RecipeFacts:
    is_image = dataset.features.dtype == np.uint8
    folds = spec.sections.cv.folds
    return RecipeFacts(len(dataset), folds, is_image, tuple(dataset.categories))


def _check_features(spec: StudySpec, dataset: Dataset) -> None:
    """Refuse a trial that would see more inputs than there are."""
    most = most_features(spec)
    if most > dataset.inputs:
        at = location_name(spec.name, ("model", "features"))
        rule = f"features must be at most the {dataset.inputs} inputs of {dataset.name}"
        raise DataError(ErrorDetail(at, rule, str(most), "Lower it, or leave it out to see all."))


def _provenance_warnings(spec: StudySpec, dataset: Dataset, folds: Sequence[str]) -> list[str]:
    """Say where an exported study file meets other rows than those its trial was chosen on."""
    source = spec.sections.provenance
    if source is None:
        return []
    pairs = [
        ("development rows", source.data_fingerprint, dataset.fingerprint),
        ("held-out rows", source.held_out_fingerprint, dataset.held_out_fingerprint),
        ("folds", source.fold_fingerprint, fold_fingerprint(folds)),
    ]
    return [
        f"the {what} are not those of study {source.study}, where trial {source.number} was chosen"
        for what, before, now in pairs
        if before != now
    ]


def enter_study(
    spec: StudySpec, data: StudyData, records: Records, hardware: Mapping[str, str | int]
) -> StudyRecord:
    """Return the record of a study, begun now or earlier with the same file and the same rows.

    hardware is what describe_device() says of the device that trains a new study. A changed
    budget, rule or level is stored and recorded.

    Raises: StudyStateError if the study began with other rows, or its file changed in what trials
    depend on, or it is to begin with the settings of a study that is missing; RefusedError if it
    changed in anything that is recorded after the held-out set was opened.
    """
    dataset = data.dataset
    study = records.find_study(spec.name)
    if study is None:
        environment = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            **hardware,
            "versions": installed_versions(),
        }
        warm = warm_start(spec, records, dataset.fingerprint)
        facts = replace(data.facts, warnings=(*data.facts.warnings, *warm.warnings))
        prints = (dataset.fingerprint, dataset.held_out_fingerprint)
        return records.create_study(spec, *prints, facts, environment, warm.settings)
    # Read by this version, so that a section it knows anew has its defaults on both sides.
    changed = differences(study.spec().to_json(), spec.to_json())
    fixed = [
        each
        for each in changed
        if each.key not in (*UNRECORDED, *RECORDED) and not each.key.startswith(WHERE)
    ]
    if any(each.key not in ROWS_DECIDE for each in fixed):
        raise _changed_file(study, fixed)
    # Where more rows have changed what the recipe fills in, the rows are what has changed.
    check_rows(study, data)
    if fixed:
        raise _changed_file(study, fixed)
    recorded = [each for each in changed if each.key in RECORDED]
    return records.keep_file(study, spec, recorded) if changed else study


def _changed_file(study: StudyRecord, fixed: Sequence[Difference]) -> StudyStateError:
    """Return the error of a file that changed; another recipe explains all that it fills in."""
    recipes = [each for each in fixed if each.key == "recipe"]
    hint = "Give the changed study another name (--name), or put the file back."
    if recipes:
        hint = f"Write recipe = {show(recipes[0].before)} to go on, or use another name (--name)."
    rule = "a study that has begun keeps its file"
    got = "; ".join(map(str, recipes or fixed))
    return StudyStateError(ErrorDetail(f"study {study.name}", rule, got, hint))


def check_rows(study: StudyRecord, data: StudyData) -> None:
    """Refuse rows or folds other than those the study began with.

    Raises: StudyStateError.
    """
    dataset = data.dataset
    before = (study.data_fingerprint, study.facts.folds)
    same_rows = before == (dataset.fingerprint, data.facts.folds)
    if not same_rows or not _is_held_out_by(study, data):
        where = f"study {study.name}"
        raise StudyStateError(
            ErrorDetail(
                where,
                "a study that has begun keeps its rows and folds",
                "rows with another content",
                "Put the data back, or give the study another name.",
            )
        )


def _is_held_out_by(study: StudyRecord, data: StudyData) -> bool:
    """Say whether the held-out rows are those the study began with, under whatever version."""
    spec = study.spec()
    if study.held_out_fingerprint == data.dataset.held_out_fingerprint:
        return True
    if data.frame is not None or spec.sections.data.path is None:
        return False
    return study.held_out_fingerprint == earlier_identity(spec, data.folder)


def row_facts(data: StudyData) -> RowFacts:
    """Return what the record keeps of the development rows: targets, folds, groups."""
    dataset, splits = data.dataset, data.plan.splits
    repeats = 1 + max(split.repeat for split in splits)
    folds = np.full((repeats, len(dataset)), -1, dtype=np.int64)
    for split in splits:
        folds[split.repeat, split.validation] = split.fold
    return RowFacts(dataset.target, folds, dataset.groups)


def make_trainer(spec: StudySpec, data: StudyData, device: Device, max_members: int) -> Trainer:
    """Prepare the folds and bring them to the device."""
    folds = prepare_folds(data.dataset, data.plan.splits, spec)
    training = spec.sections.training
    return Trainer(
        folds,
        spec.task,
        spec.metric,
        spec.seed,
        device,
        precision=training.precision,
        diagnostics=training.diagnostics,
        max_members=max_members,
        rungs=_rungs(spec),
        epoch=training.epoch,
        patience=training.patience,
    )


def _rungs(spec: StudySpec) -> RungPredictions:
    """Say what is kept of the predictions at the rungs, for the corrected estimate."""

    def reduce(outputs: Outputs, targets: NDArray[Any]) -> NDArray[Any]:
        return compact(spec.metric, reduce_outputs(spec.metric, outputs, targets))

    epochs = judged_epochs(spec)[: spec.sections.assessment.kept_rungs]
    return RungPredictions(frozenset(epochs), reduce)
