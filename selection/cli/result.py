"""The commands that end a study: best, evaluate, export, predict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selection.cli.options import (
    DEFAULT_STORAGE,
    AsJson,
    Device,
    DeviceOption,
    Name,
    RuleOption,
    Storage,
    command,
    print_csv,
    print_json,
    say,
)
from selection.errors import DataError, ErrorDetail, ExportError, RefusedError

if TYPE_CHECKING:
    from selection.store.evidence import StoredModel
    from selection.store.repository import Repository
    from selection.store.study_record import StudyRecord
    from selection.study.fields import Rule
    from selection.study.trial import Trial
    from selection.workflows.assess import Assessment
    from selection.workflows.study_data import StudyData


AGAIN = "to evaluate again: --again --reason TEXT"


def best(
    name: Name,
    rule: RuleOption = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Say which trial won, and how good it will really be."""
    from selection.report import values
    from selection.report.terminal import text, verdict
    from selection.store.repository import open_repository
    from selection.workflows.assess import assess_study

    with open_repository(storage) as repository:
        assessment = assess_study(repository.study(name), repository, rule)
    if as_json:
        print_json(values.winner_value(assessment))
        return
    evaluate_command = command("evaluate", name, storage=storage)
    verdict.winner(text.make_console(), assessment, evaluate_command)


def evaluate(
    name: Name,
    rule: RuleOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Open the held-out set once more, on record.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why it is opened again; kept for good.")] = "",
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="End a study here that has trials left.")
    ] = False,
    device: Device = DeviceOption.AUTO,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Make the final model and open the held-out set, once."""
    if again != bool(reason.strip()):
        raise typer.BadParameter("--again and --reason TEXT belong together")
    if not reason.isprintable():
        raise typer.BadParameter("--reason must be one line of readable text")
    from selection.store.repository import open_repository

    with open_repository(storage, write=True) as repository:
        study = repository.study(name)
        evaluations = len(repository.ledger.evaluations(study))
        try:
            if not again:
                repository.ledger.check_first_evaluation(study)
            _evaluate(repository, study, rule, device, reason.strip(), unfinished)
        except RefusedError:
            _print_evaluation(repository, study, as_json, is_first=True)
            raise
        except BaseException:
            if len(repository.ledger.evaluations(study)) > evaluations:
                say(f"the claim stays on record without a result; {AGAIN}")
            raise
        _print_evaluation(repository, study, as_json, is_first=False)
    if not as_json:
        print(f"what next: {command('export', name, '--to', 'exports', storage=storage)}")


def export(
    name: Name,
    to: Annotated[Path, typer.Option("--to", help="The folder to write.")],
    form: Annotated[
        str, typer.Option("--format", help="Formats with commas between; all that can be made.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds files.")
    ] = False,
    device: Device = DeviceOption.AUTO,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write the winner as files: a study file, its model, a model card, all trials."""
    from selection.report.export import MODEL_FORMATS, Winner, check_folder, make_files, write_files
    from selection.store.repository import open_repository
    from selection.workflows.assess import assess_study, rule_to_export, trial_to_export

    formats = _formats(form)
    check_folder(to, force=force)
    with open_repository(storage, write=True) as repository:
        study = repository.study(name)
        rule = rule_to_export(repository.ledger.evaluations(study))
        assessment = assess_study(study, repository, rule)
        trial = trial_to_export(assessment)
        model = None
        if set(formats) & set(MODEL_FORMATS):
            model = _final_model(repository, assessment, trial, device)
    files = make_files(Winner(assessment, trial, model), formats)
    write_files(files, to, force=force)
    if as_json:
        print_json(
            {"study": name, "number": trial.number, "folder": str(to), "files": sorted(files)}
        )
        return
    print(f"trial {trial.number} of study {name} in {to}: {', '.join(sorted(files))}")
    if model is not None:
        rows = command("predict", str(to), "--input", "TABLE.csv", storage=DEFAULT_STORAGE)
        print(f"what next: {rows}")


def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An exported model.")],
    table: Annotated[Path, typer.Option("--input", help="A .csv or .parquet file.")],
    as_json: AsJson = False,
) -> None:
    """Predict the rows of a table with an exported model."""
    import pandas as pd

    from selection.data.tables import read_features
    from selection.model.estimator import ClassifierModel
    from selection.model.files import load_model

    model = load_model(folder)
    names, categorical = model.document["feature_names"], model.document["categorical"]
    features, categories = read_features(table, names, categorical)
    frame = pd.concat([pd.DataFrame(features, columns=names), pd.DataFrame(categories)], axis=1)
    try:
        rows = [{"prediction": value} for value in model.predict(frame).tolist()]
    except ValueError as error:
        rule = "the rows must fit the model"
        raise DataError(ErrorDetail(str(table), rule, str(error), "Fix the table.")) from None
    if isinstance(model, ClassifierModel):
        for row, chances in zip(rows, model.predict_proba(frame).tolist(), strict=True):
            named = zip(model.class_names, chances, strict=True)
            row |= {f"probability_{each}": chance for each, chance in named}
    if as_json:
        print_json(rows)
    else:
        print_csv(rows)


def _evaluate(
    repository: Repository,
    study: StudyRecord,
    rule: Rule | None,
    device: DeviceOption,
    reason: str,
    unfinished: bool,
) -> None:
    from selection.data.sources import data_folder
    from selection.report.verdict import openings
    from selection.train.device import choose_device
    from selection.workflows.assess import assess_study
    from selection.workflows.evaluate import check_evaluation, evaluate
    from selection.workflows.study_data import row_facts

    data = _study_data(study)
    # A study begun by an earlier version has not kept them, and cannot be corrected without.
    repository.evidence.keep_rows(study, row_facts(data))
    assessment = assess_study(study, repository, rule)
    check_evaluation(assessment, again=bool(reason), unfinished=unfinished)
    chosen = choose_device(device.value)
    if others := openings(assessment.openings_by_others):
        say(f"warning: {others}")
    evaluate(
        assessment, data, repository.evidence, repository.ledger, chosen, data_folder(), reason
    )


def _print_evaluation(
    repository: Repository, study: StudyRecord, as_json: bool, *, is_first: bool
) -> None:
    """Print the first or the newest result, if there is any."""
    from selection.report.terminal import text, verdict

    evaluations = repository.ledger.evaluations(study)
    results = [evaluation.result for evaluation in evaluations if evaluation.result is not None]
    if not results:
        return
    result = replace(results[0 if is_first else -1], evaluations=len(evaluations))
    if as_json:
        print_json(result.to_json())
    else:
        verdict.evaluation(text.make_console(), result, evaluations)


def _final_model(
    repository: Repository, assessment: Assessment, trial: Trial, device: DeviceOption
) -> StoredModel:
    """Return the final model, trained now if it never was; the held-out set stays closed."""
    from selection.train.device import choose_device
    from selection.workflows.evaluate import final_models

    if not repository.evidence.models(assessment.study, trial.number):
        say("training the final model")
        data, chosen = _study_data(assessment.study), choose_device(device.value)
        final_models(assessment.study, assessment.spec, data, trial, repository.evidence, chosen)
    return repository.evidence.models(assessment.study, trial.number)[0]


def _study_data(study: StudyRecord) -> StudyData:
    """Load the development rows of a study, and refuse any others."""
    from selection.data.sources import data_folder
    from selection.workflows.study_data import check_rows, load_study_data

    data = load_study_data(study.spec(), data_folder())
    check_rows(study, data)
    return data


def _formats(text: str) -> list[str]:
    """Return the formats asked for; by default all whose packages are installed."""
    from importlib.util import find_spec

    from selection.errors import nearest_name, show
    from selection.report.export import EXTRAS, FORMATS

    if not text:
        missing = [name for name, package in EXTRAS.items() if find_spec(package) is None]
        for name in missing:
            say(f"{FORMATS[name][0]} left out: pip install 'selection[{name}]'")
        return [name for name in FORMATS if name not in missing]
    asked = [name.strip() for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in FORMATS:
            rule = "the format must be known"
            raise ExportError(
                ErrorDetail("--format", rule, show(name), nearest_name(name, FORMATS))
            )
    if not asked:
        hint = f"Known: {', '.join(FORMATS)}."
        raise ExportError(ErrorDetail("--format", "a format must be named", show(text), hint))
    return list(dict.fromkeys(asked))
