"""The commands that look into a study: diagnose, curve."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from selection.cli.options import (
    DEFAULT_STORAGE,
    AsJson,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    Name,
    Storage,
    print_csv,
    print_json,
    say,
)
from selection.errors import ErrorDetail, StudyStateError

if TYPE_CHECKING:
    from selection.store.study_record import StudyRecord
    from selection.study.trial import Trial
    from selection.train.fit import EpochNews

# How often a curve in training says how far it is.
SAY_SECONDS = 2.0

TrialOption = Annotated[
    int | None, typer.Option("--trial", min=0, help="Number of a trial; the winner if omitted.")
]


def diagnose(
    name: Name,
    trial: TrialOption = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Say whether a trial under- or overfits, by which rule, and what to do about it."""
    from selection.report import values
    from selection.report.terminal import diagnosis as diagnosis_text
    from selection.report.terminal import text
    from selection.stats.selection_rules import rank
    from selection.store.repository import open_repository
    from selection.workflows.diagnose import baseline_lines, diagnose_trial

    with open_repository(storage) as repository:
        study = repository.study(name)
        spec, trials = study.spec(), repository.records.trials(study, with_curves=False)
        chosen = _complete_trial(study, trials, trial)
        ranked = rank(trials, is_minimised=spec.is_minimised)
        found = diagnose_trial(study, spec, repository, chosen, ranked)
        baselines = baseline_lines(study, spec, repository)
        folds = repository.records.curves(study, chosen.number)
    if found is None:
        rule = "a diagnosis needs the targets of the rows"
        hint = "selection run FILE adds them to a study of an earlier version."
        raise StudyStateError(ErrorDetail(f"study {name}", rule, "none on record", hint))
    if as_json:
        value = values.diagnosis_value(found)
        lines = {
            each: {
                "loss": values.fold_mean_value(line.loss),
                "score": values.fold_mean_value(line.score),
            }
            for each, line in baselines.items()
        }
        layers = values.layer_rows(folds)
        print_json(
            {"study": name, "trial": chosen.number, **value, "baselines": lines, "layers": layers}
        )
        return
    console = text.make_console()
    diagnosis_text.diagnosis(console, name, chosen, found, baselines, spec.metric)
    diagnosis_text.layers(console, folds)


def curve(
    name: Name,
    over: Annotated[str, typer.Option("--over", help="A hyperparameter, or rows.")],
    values: Annotated[str, typer.Option("--values", help="Its values, with commas between.")],
    trial: TrialOption = None,
    device: Device = DeviceOption.AUTO,
    form: FormatOption = Format.TABLE,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Train the winner again with one thing changed, on the same folds, and keep the curve."""
    from selection.data.sources import data_folder
    from selection.report.diagnosis_view import curve_title
    from selection.report.terminal import diagnosis as diagnosis_text
    from selection.report.terminal import text
    from selection.report.values import curve_value
    from selection.store.repository import open_repository
    from selection.train.device import choose_device
    from selection.workflows.diagnose import diagnose_points
    from selection.workflows.study_data import check_rows, load_study_data
    from selection.workflows.validation_curve import Subject, read_values, trace_curve

    form = Format.JSON if as_json else form
    asked = read_values(over, values)
    with open_repository(storage, write=True) as repository:
        study = repository.study(name)
        trials = repository.records.trials(study, with_curves=False)
        spec, chosen = study.spec(), _complete_trial(study, trials, trial)
        data = load_study_data(spec, data_folder())
        check_rows(study, data)
        subject = Subject(spec, study, data, chosen, over)
        chosen_device = choose_device(device.value)
        points = trace_curve(subject, asked, repository, chosen_device, _make_watch(over), say)
        found = diagnose_points(study, spec, repository, points)
    if form is Format.TABLE:
        title = curve_title(chosen.number, over)
        print(f"study {name}: {title} ({len(points[0].folds)} folds)")
        diagnosis_text.curve(text.make_console(), points, found, spec.metric)
    elif form is Format.JSON:
        print_json(curve_value(points, found, spec.metric))
    else:
        print_csv(curve_value(points, found, spec.metric))


def _complete_trial(study: StudyRecord, trials: Sequence[Trial], number: int | None) -> Trial:
    """Return a complete trial: the one asked for, or the winner by the rule of the study.

    Raises: StudyStateError.
    """
    from selection.study.trial import TrialState
    from selection.workflows.assess import choose_winner

    if number is None:
        spec = study.spec()
        chosen = choose_winner(study, spec, trials, spec.sections.selection.rule)
    else:
        chosen = next((trial for trial in trials if trial.number == number), None)
    if chosen is not None and chosen.state is TrialState.COMPLETE:
        return chosen
    where = f"study {study.name}"
    if number is None:
        got = "no complete trial"
    else:
        got = f"trial {number}, which is {chosen.state.value}" if chosen else f"no trial {number}"
    hint = "Look at selection trials."
    raise StudyStateError(ErrorDetail(where, "this needs a complete trial", got, hint))


def _make_watch(over: str) -> Callable[[EpochNews], None]:
    """Return what says now and then how far the training of a curve is."""
    said = time.monotonic()

    def watch(news: EpochNews) -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_SECONDS and news.members:
            said = time.monotonic()
            say(f"curve over {over}: epoch {news.epoch}/{news.epochs}, {news.members} members")

    return watch
