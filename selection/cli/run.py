"""The commands that train: run, and worker for those who join."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from selection.api.defaults import DEFAULT_STORAGE
from selection.cli.options import (
    AsJson,
    Device,
    DeviceOption,
    Name,
    Storage,
    command,
    print_json,
    print_plain,
    say,
)
from selection.errors import ErrorDetail, StudyFileError, show

if TYPE_CHECKING:
    from selection.api.source import Overrides
    from selection.report.study_view import StudyView
    from selection.study.spec import StudySpec
    from selection.workflows.assess import Assessment

PackMembers = Annotated[
    int, typer.Option(min=0, help="Members per pack at most; 0 sizes packs by memory.")
]
LeaseSeconds = Annotated[
    float, typer.Option("--lease", min=1.0, help="Seconds of silence that mean a worker is dead.")
]
Lag = Annotated[
    str | None,
    typer.Option(
        "--lag",
        metavar="N|free",
        help="Propose cohort k from those up to k - N; free takes whatever has finished.",
    ),
]


def run(
    file: Annotated[Path, typer.Argument(help="A study file.")],
    on: Annotated[
        Literal["processes", "ray"] | None,
        typer.Option("--on", help="Train by processes of this machine, or on a Ray cluster."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many workers train at the same time.")
    ] = None,
    lag: Lag = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster: HOST:PORT, auto or local.")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(help="GPUs per worker on Ray; 1 if left out.")
    ] = None,
    trials: Annotated[
        str | None,
        typer.Option(help="Trials in all, as in 48; +24 adds to what the study has."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the file's.")] = None,
    name: Annotated[str | None, typer.Option(help="Name, instead of the file's.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Value instead of the file's; repeatable."),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    device: Device = DeviceOption.AUTO,
    pack_members: PackMembers = 0,
    lease: LeaseSeconds = 30.0,
    is_explained: Annotated[
        bool,
        typer.Option("--explain", help="Print where each value comes from, and train nothing."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it; a finished one only prints its result.

    A study gets more trials or more time until its held-out set is opened.
    """
    from selection.api.run import Training, train
    from selection.api.source import Overrides, read_spec, with_trials_on_record
    from selection.api.study import Study
    from selection.cli.key_value import read_pairs
    from selection.report.terminal.progress import SweepView
    from selection.report.values import run_value
    from selection.workflows.assess import require_winner

    run_keys = {
        "on": on,
        "workers": workers,
        "lag": _lag(lag),
        "address": address,
        "gpus_per_worker": gpus_per_worker,
    }
    overrides = Overrides(read_pairs(values or ()), name, seed, trials, run_keys)
    spec = read_spec(file, overrides)
    if is_explained:
        _explain(file, overrides, spec, as_json=as_json)
        return
    study = Study(spec.name, storage)
    spec = with_trials_on_record(spec, overrides, study.secret_url, say)
    training = Training(device.value, pack_members, lease)
    with SweepView(spec.metric, is_minimised=spec.is_minimised, is_quiet=as_json) as view:
        train(study, spec, training, view, warn=say)
    assessment = study.assess()
    if as_json:
        print_json(run_value(assessment, study.storage, study.view().seconds))
    else:
        _show(assessment, study.view(), storage)
    require_winner(assessment)


def worker(
    name: Name,
    storage: Storage = DEFAULT_STORAGE,
    device: Device = DeviceOption.AUTO,
    pack_members: PackMembers = 0,
    lease: LeaseSeconds = 30.0,
    lag: Lag = None,
) -> None:
    """Train for a study that has begun, beside other workers, until its budget is spent.

    To make the study repeatable, give every worker the number of workers as --lag.
    """
    from selection.api.run import Training, work
    from selection.api.study import Study
    from selection.report.terminal.progress import SweepView

    spec = Study(name, storage).spec
    training = Training(device.value, pack_members=pack_members, lease_seconds=lease)
    with SweepView(spec.metric, is_minimised=spec.is_minimised) as view:
        work(name, storage, training, view, _lag(lag))
    print_plain(f"study {name} takes no more trials; selection run FILE trains its baselines")


def _explain(file: Path, overrides: Overrides, spec: StudySpec, *, as_json: bool) -> None:
    """Print what trials depend on and where it comes from; the rows are read."""
    from selection.api.source import read_content
    from selection.data.sources import data_folder
    from selection.report.terminal.explained import print_explained
    from selection.report.terminal.text import make_console
    from selection.study.explained import explain
    from selection.workflows.study_data import load_study_data

    data = load_study_data(spec, data_folder())
    values = explain(read_content(file, overrides), spec, data.spec)
    if as_json:
        print_json([asdict(each) for each in values])
    else:
        print_explained(make_console(), values, spec.sections.recipe, data.facts.rows)


def _lag(text: str | None) -> int | Literal["free"] | None:
    if text is None:
        return None
    if text == "free":
        return "free"
    if text.isascii() and text.isdigit() and int(text):
        return int(text)
    rule = "must be a whole number from 1, or free"
    raise StudyFileError(ErrorDetail("--lag", rule, show(text), "Say how many workers: --lag 4."))


def _show(assessment: Assessment, view: StudyView, storage: str) -> None:
    """Print the leaders, the verdict and what comes next."""
    from selection.report.other_trials import queue_lines
    from selection.report.terminal import text, verdict
    from selection.report.terminal.layout import say as print_wrapped
    from selection.study.ensemble import counts_of, weights_of

    name = assessment.study.name
    console = text.make_console()
    every = command("trials", operands=[name], storage=storage)
    counts = None if assessment.winner is None else counts_of(assessment.winner)
    weights = None if counts is None else weights_of(counts)
    text.leaderboard(console, assessment.study, assessment.trials, more=every, weights=weights)
    for line in queue_lines(view.others, view.spec.budget - len(view.trials)):
        print_wrapped(console, line)
    evaluate = command("evaluate", operands=[name], storage=storage)
    verdict.winner(console, assessment, evaluate)
    rows = command("trials", "-f", "csv", operands=[name], storage=storage)
    steps = [f"{rows} > trials.csv"]
    if assessment.winner is not None:
        steps.insert(0, command("export", "--to", "exports", operands=[name], storage=storage))
        if not assessment.evaluations:
            steps.insert(0, evaluate)
    text.next_steps(console, steps)
