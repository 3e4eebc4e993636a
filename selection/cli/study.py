"""The commands that show a study: status, trials, learning curves, best."""

from __future__ import annotations

from typing import Annotated

import typer

from selection.api.defaults import DEFAULT_STORAGE
from selection.cli.options import (
    AsJson,
    Format,
    FormatOption,
    OptionalName,
    RuleOption,
    Storage,
    command,
    print_csv,
    print_json,
)


def status(
    name: OptionalName = None, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False
) -> None:
    """Say how far a study is."""
    from selection.api.run import open_study
    from selection.report import values
    from selection.report.terminal import text

    view = open_study(name, storage=storage).view()
    value = values.status_value(
        view.study, view.trials, view.seconds, view.evaluations, view.running, view.others
    )
    if as_json:
        print_json(value)
    else:
        text.status(text.make_console(), value)


def trials(
    name: OptionalName = None,
    form: FormatOption = Format.TABLE,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print every trial of a study."""
    from selection.api.run import open_study
    from selection.report import values
    from selection.report.other_trials import trial_values
    from selection.report.terminal import other_trials, text

    form = Format.JSON if as_json else form
    view = open_study(name, storage=storage).view()
    if form is Format.TABLE:
        console = text.make_console()
        text.leaderboard(console, view.study, view.trials)
        other_trials.others(console, view.others, view.spec.budget - len(view.trials))
    elif form is Format.JSON:
        print_json(trial_values(view.trials, view.others))
    else:
        print_csv(values.trial_rows(view.study, view.trials))


def curves(
    trial: Annotated[int, typer.Option(min=0, help="Number of the trial.")],
    name: OptionalName = None,
    form: FormatOption = Format.TABLE,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print the learning curves of one trial, per fold and epoch."""
    from selection.api.run import open_study
    from selection.report.curve_values import curve_values
    from selection.report.terminal import text

    form = Format.JSON if as_json else form
    folds = open_study(name, storage=storage).fold_results(trial)
    if form is Format.TABLE:
        text.curves(text.make_console(), folds)
    elif form is Format.JSON:
        print_json(curve_values(folds))
    else:
        print_csv(curve_values(folds))


def best(
    name: OptionalName = None,
    rule: RuleOption = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Say which trial won, and how good it will really be."""
    from selection.api.run import open_study
    from selection.report import values
    from selection.report.terminal import text, verdict

    study = open_study(name, storage=storage)
    assessment = study.assess(rule)
    if as_json:
        print_json(values.winner_value(assessment))
        return
    evaluate = command("evaluate", operands=[study.name], storage=storage)
    verdict.winner(text.make_console(), assessment, evaluate)
