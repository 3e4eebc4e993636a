"""The commands that examine a study: diagnose, validation-curve."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from selection.api.defaults import DEFAULT_STORAGE
from selection.cli.options import (
    AsJson,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    OptionalName,
    Storage,
    print_csv,
    print_json,
    say,
)

if TYPE_CHECKING:
    from selection.train.fit import EpochNews

# How often a curve in training says how far it is.
SAY_SECONDS = 2.0

TrialOption = Annotated[
    int | None, typer.Option("--trial", min=0, help="Number of a trial; the winner if omitted.")
]


def diagnose(
    name: OptionalName = None,
    trial: TrialOption = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Say whether a trial under- or overfits, by which rule, and what to do about it."""
    from selection.api.run import open_study
    from selection.report.curve_values import diagnosed_value
    from selection.report.terminal import diagnosis, text

    study = open_study(name, storage=storage)
    found = study.diagnose(trial)
    folds = study.fold_results(found.trial.number)
    if as_json:
        print_json(diagnosed_value(study.name, found, folds))
        return
    console, metric = text.make_console(), study.spec.metric
    diagnosis.diagnosis(console, study.name, found.trial, found.diagnosis, found.baselines, metric)
    diagnosis.layers(console, folds)


def curve(
    over: Annotated[str, typer.Option("--over", help="A hyperparameter, or rows.")],
    values: Annotated[str, typer.Option("--values", help="Its values, with commas between.")],
    name: OptionalName = None,
    trial: TrialOption = None,
    device: Device = DeviceOption.AUTO,
    form: FormatOption = Format.TABLE,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Train the winner again with one thing changed, on the same folds, and keep the curve."""
    from selection.api.run import open_study
    from selection.report.curve_values import curve_value
    from selection.report.terminal import diagnosis, text
    from selection.workflows.validation_curve import read_values

    form = Format.JSON if as_json else form
    asked, study = read_values(over, values), open_study(name, storage=storage)
    found = study.curve_points(
        over, asked, trial, device=device.value, watch=_make_watch(over), say=say
    )
    points, diagnoses = [point for point, _ in found], [own for _, own in found]
    metric = study.spec.metric
    if form is Format.TABLE:
        diagnosis.curve(text.make_console(), study.name, points, diagnoses, metric)
    elif form is Format.JSON:
        print_json(curve_value(points, diagnoses, metric))
    else:
        print_csv(curve_value(points, diagnoses, metric))


def _make_watch(over: str) -> Callable[[EpochNews], None]:
    """Return what says now and then how far the training of a curve is."""
    said = time.monotonic()

    def watch(news: EpochNews) -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_SECONDS and news.members:
            said = time.monotonic()
            say(f"curve over {over}: epoch {news.epoch}/{news.epochs}, {news.members} members")

    return watch
