"""Validation and sample-size curves: the setting of one trial, with one thing of it changed.

A validation curve changes one hyperparameter, a sample-size curve the number of training rows.
What is on record is not trained again.
Source: D2L section 3.6 and 4; scikit-learn's validation_curve and learning_curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from selection.data.prepare import FoldData, fit_preparation, prepare_folds
from selection.data.subsets import take_subset
from selection.errors import ErrorDetail, StudyFileError, StudyStateError, nearest_name, show
from selection.store.curve_points import ROWS, CurvePoint
from selection.store.repository import Repository
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.study.best_epoch import best_epoch
from selection.study.hyperparameters import (
    CONSTANT_FIELDS,
    PER_LAYER_FIELDS,
    REAL_FIELDS,
    WHOLE_FIELDS,
    space_names,
)
from selection.study.rules import setting_errors
from selection.study.setting import EpochChoice, Setting
from selection.study.space_file import checked_value
from selection.study.spec import StudySpec
from selection.study.trial import (
    CURVE_COLUMNS,
    FoldResult,
    LearningCurve,
    Params,
    Scalar,
    Trial,
    TrialResult,
    TrialState,
)
from selection.train.device import Device
from selection.train.fit import EpochNews, Trainer
from selection.workflows.study_data import StudyData

Watch = Callable[[EpochNews], None]


@dataclass(frozen=True, eq=False)
class Subject:
    """Hold whose curve is asked for: the trial of a study, of which one thing is changed."""

    spec: StudySpec
    study: StudyRecord
    data: StudyData
    trial: Trial
    over: str


def read_values(over: str, text: str) -> list[Scalar]:
    """Return the values of a curve as they were typed, with commas between.

    Raises: StudyFileError where the name is unknown, or a value breaks a rule of its own.
    """
    _check_name(over, "--over")
    words = [word.strip() for word in text.split(",") if word.strip()]
    return _check_all(over, [_read_value(over, word) for word in words], "--values")


def _read_value(over: str, word: str) -> Scalar:
    if over not in (ROWS, *WHOLE_FIELDS, *REAL_FIELDS):
        return {"true": True, "false": False}.get(word, word)
    kind = float if over in REAL_FIELDS else int
    try:
        return kind(word)
    except ValueError:
        rule = f"{over} must be a {'whole ' if kind is int else ''}number"
        detail = ErrorDetail(f"--values {word}", rule, show(word), "Fix this value.")
        raise StudyFileError(detail) from None


def check_values(over: str, values: Sequence[Scalar]) -> list[Scalar]:
    """Return the values of a curve in their order.

    Raises: StudyFileError where the name is unknown, or a value breaks a rule of its own.
    """
    _check_name(over, "over")
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return _check_all(over, plain, "values")


def _check_all(over: str, values: Sequence[Scalar], where: str) -> list[Scalar]:
    checked = [_check_value(over, value, where) for value in values]
    if len(set(checked)) < max(2, len(checked)):
        rule, hint = "a curve needs two values that differ, or more", "Write such as 8,32,128."
        raise StudyFileError(ErrorDetail(where, rule, ",".join(map(show, values)), hint))
    return sorted(checked, key=lambda value: (isinstance(value, str), value))


def _check_name(over: str, where: str) -> None:
    known = [ROWS, *(name for name in space_names() if name not in CONSTANT_FIELDS)]
    if over not in known:
        rule = "a curve needs the name of a hyperparameter, or rows"
        raise StudyFileError(ErrorDetail(where, rule, show(over), nearest_name(over, known)))


def _check_value(over: str, value: Scalar, where: str) -> Scalar:
    at = f"{where} {value}"
    if over == ROWS:
        if not isinstance(value, int) or value < 1:
            rule = "rows must be at least 1"
            raise StudyFileError(ErrorDetail(at, rule, show(value), "Fix this value."))
        return value
    if over in REAL_FIELDS and isinstance(value, int):
        value = float(value)
    checked = checked_value(over, value, at)
    assert not isinstance(checked, tuple), "one value is no list"
    return checked


def trace_curve(
    subject: Subject,
    values: Sequence[Scalar],
    repository: Repository,
    device: Device,
    watch: Watch,
    say: Callable[[str], None],
) -> list[CurvePoint]:
    """Return a point for each value, trained now unless it is on record.

    Nothing is pruned, and the held-out set stays closed.

    Raises: StudyStateError where a value cannot be had, or has no effect.
    """
    known = _known(subject, repository)
    missing = [value for value in values if value not in known]
    if subject.over == ROWS:
        results = _trace_rows(subject, missing, device, watch)
    else:
        results = _trace_settings(subject, values, missing, repository, device, watch)
    made = [
        CurvePoint(subject.trial.number, subject.over, value, _bare(result.folds), result.reason)
        for value, result in results.items()
    ]
    # What did train is kept, whatever another value came to.
    retry(
        lambda: repository.curves.keep(subject.study, [point for point in made if point.folds]), say
    )
    for point in made:
        if not point.folds:
            rule = f"{subject.over} = {show(point.value)} must train"
            raise _refusal(subject, rule, point.reason, "Leave this value out.")
    known |= {point.value: point for point in made}
    return [known[value] for value in values]


def _known(subject: Subject, repository: Repository) -> dict[Scalar, CurvePoint]:
    mine = (subject.trial.number, subject.over)
    points = repository.curves.points(subject.study)
    return {point.value: point for point in points if (point.number, point.over) == mine}


def _bare(folds: Sequence[FoldResult]) -> tuple[FoldResult, ...]:
    """Return members without predictions and layers."""
    return tuple(
        FoldResult(fold.repeat, fold.fold, fold.curve, best_epoch=fold.best_epoch) for fold in folds
    )


def _trace_settings(
    subject: Subject,
    values: Sequence[Scalar],
    missing: Sequence[Scalar],
    repository: Repository,
    device: Device,
    watch: Watch,
) -> dict[Scalar, TrialResult]:
    """Train the settings of missing values as one cohort, but for those that a trial had."""
    settings = {value: _setting(subject, value) for value in values}
    if len(set(settings.values())) < len(settings):
        rule = f"{subject.over} must change the setting of trial {subject.trial.number}"
        raise _refusal(subject, rule, "values without effect on it", "Choose another name.")
    complete = {
        subject.spec.setting(trial.params): trial
        for trial in repository.records.trials(subject.study, with_curves=False)
        if trial.state is TrialState.COMPLETE
    }
    results, waiting = {}, []
    for value in missing:
        trial = complete.get(settings[value])
        if trial is None:
            waiting.append(value)
            continue
        folds = repository.records.curves(subject.study, trial.number)
        results[value] = TrialResult(trial.state, "", folds, trial.epochs, 0.0)
    if waiting:
        data = subject.data
        whole = prepare_folds(data.dataset, data.plan.splits, subject.spec)
        training = subject.spec.sections.training
        trainer = _make_trainer(subject, whole, device, training.epoch, training.patience)
        trained = trainer.train([settings[value] for value in waiting], watch=watch)
        results |= dict(zip(waiting, trained, strict=True))
    return results


def _setting(subject: Subject, value: Scalar) -> Setting:
    """Return the trial's setting with one value changed, and its depth unless that is the value."""
    spec, over = subject.spec, subject.over
    depth = spec.setting(subject.trial.params).kind.hidden_layers
    known = {**spec.constants, **subject.trial.params}
    inputs, got = subject.data.dataset.inputs, ""
    if over == "hidden_layers" and any(isinstance(known.get(n), tuple) for n in PER_LAYER_FIELDS):
        got = "a list per layer"  # of widths or of dropout: it has one length
    if over == "features" and isinstance(value, int) and value > inputs:
        got = f"{inputs} inputs"
    if got:
        rule = f"{over} = {show(value)} must fit trial {subject.trial.number} and its rows"
        raise _refusal(subject, rule, got, "Choose other values.")
    _check_setting(subject, {**known, over: value})
    return spec.setting({**subject.trial.params, "hidden_layers": depth, over: value})


def _check_setting(subject: Subject, values: Params) -> None:
    """Refuse what a study file could not ask for; nothing is embedded without categories."""
    if not subject.data.dataset.categories:
        values = {**values, "category_embedding": False}
    for error in setting_errors(subject.spec.sections, values, subject.spec.name):
        raise _refusal(subject, error.rule, error.got, "Choose another name.")


def _trace_rows(
    subject: Subject, missing: Sequence[Scalar], device: Device, watch: Watch
) -> dict[Scalar, TrialResult]:
    """Train on nested subsets, those of as many epochs side by side.

    A smaller subset is iterated over more times, so that all sizes take about as many updates:
    otherwise fewer rows would also mean less training.
    """
    most = min(len(split.training) for split in subject.data.plan.splits)
    sizes = [size for size in missing if isinstance(size, int)]
    if sizes and max(sizes) > most:
        rule = f"rows must be at most {most}, the training rows of the smallest fold"
        raise _refusal(subject, rule, str(max(sizes)), "Lower this value.")
    setting = subject.spec.setting(subject.trial.params)
    together: dict[int, list[int]] = {}
    for size in sizes:
        updates = setting.kind.epochs * _batches(setting, most)
        epochs = round(updates / _batches(setting, most // size * size))
        together.setdefault(epochs, []).append(size)
    results: dict[Scalar, TrialResult] = {}
    for epochs, group in together.items():
        longer = replace(setting, kind=replace(setting.kind, epochs=epochs))
        results |= _train_sizes(subject, longer, group, most, device, watch)
    return results


def _batches(setting: Setting, rows: int) -> int:
    """Return how many updates an epoch of so many rows has."""
    return math.ceil(rows / setting.kind.batch_size)


def _train_sizes(
    subject: Subject,
    setting: Setting,
    sizes: Sequence[int],
    most: int,
    device: Device,
    watch: Watch,
) -> dict[Scalar, TrialResult]:
    """Train one setting on subsets of several sizes as one pack; one that fails fails alone."""
    subsets = _subsets(subject, sizes, most)
    # Each size has an epoch of its own: it is chosen once all have trained to the end.
    trainer = _make_trainer(subject, subsets, device, "last", 0)
    (result,) = trainer.train([setting], watch=watch)
    count = len(subject.data.plan.splits)
    if result.state is not TrialState.COMPLETE and len(sizes) > 1:
        alone: dict[Scalar, TrialResult] = {}
        for size in sizes:
            alone |= _train_sizes(subject, setting, [size], most, device, watch)
        return alone
    members = _in_units_of_whole_folds(subject, subsets, result.folds)
    return {
        size: _at_best(subject, replace(result, folds=members[index * count : (index + 1) * count]))
        for index, size in enumerate(sizes)
    }


def _at_best(subject: Subject, result: TrialResult) -> TrialResult:
    """Return a result as the study scores it: after the last epoch, or the one of the best mean."""
    is_complete = result.state is TrialState.COMPLETE
    if subject.spec.sections.training.epoch == "last" or not is_complete:
        return result
    best = best_epoch(result.fold_means, result.epochs, is_minimised=subject.spec.is_minimised)
    return replace(result, folds=tuple(replace(fold, best_epoch=best) for fold in result.folds))


def _in_units_of_whole_folds(
    subject: Subject, subsets: Sequence[FoldData], members: Sequence[FoldResult]
) -> tuple[FoldResult, ...]:
    """Return members whose losses are in the units that they have with all rows of a fold.

    A target is standardised by the rows that are trained on: losses of other rows would be in
    other units.
    """
    if subject.spec.task == "classification":
        return tuple(members)
    dataset, spec = subject.data.dataset, subject.spec
    units = {
        (split.repeat, split.fold): fit_preparation(dataset, split.training, spec).target_std
        for split in subject.data.plan.splits
    }
    is_loss = np.array([name.endswith("_loss") for name in CURVE_COLUMNS])
    moved = []
    for subset, member in zip(subsets, members, strict=False):  # one out of memory has none
        unit = units[member.repeat, member.fold]
        factors = np.where(is_loss, (subset.target_std / unit) ** 2, 1.0)
        moved.append(replace(member, curve=LearningCurve(member.curve.points * factors)))
    return tuple(moved)


def _subsets(subject: Subject, sizes: Sequence[int], most: int) -> list[FoldData]:
    """Return the folds at each size, size by size.

    A row of a smaller subset stands in it as often as that fits into the whole.
    """
    spec, dataset = subject.spec, subject.data.dataset
    pairs = [(size, split) for size in sizes for split in subject.data.plan.splits]
    splits = [take_subset(split, dataset, spec, size) for size, split in pairs]
    return [
        replace(fold, training=np.repeat(fold.training, most // size))
        for (size, _), fold in zip(pairs, prepare_folds(dataset, splits, spec), strict=True)
    ]


def _make_trainer(
    subject: Subject, folds: Sequence[FoldData], device: Device, epoch: EpochChoice, patience: int
) -> Trainer:
    """Return a trainer that asks for no diagnostics of layers: curves have no use for them."""
    spec = subject.spec
    return Trainer(
        folds,
        spec.task,
        spec.metric,
        spec.seed,
        device,
        precision=spec.sections.training.precision,
        epoch=epoch,
        patience=patience,
    )


def _refusal(subject: Subject, rule: str, got: str, hint: str) -> StudyStateError:
    where = f"study {subject.study.name}: curve over {subject.over}"
    return StudyStateError(ErrorDetail(where, rule, got, hint))
