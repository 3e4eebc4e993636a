"""The commands that train: run, and worker for those who join."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selection.cli.options import (
    DEFAULT_STORAGE,
    AsJson,
    Device,
    DeviceOption,
    Name,
    Storage,
    command,
    print_json,
    say,
)
from selection.workers import SUPERVISED_VARIABLE

if TYPE_CHECKING:
    from selection.workflows.assess import Assessment

PackMembers = Annotated[
    int, typer.Option(min=0, help="Members per pack at most; 0 sizes packs by itself.")
]
LeaseSeconds = Annotated[
    float, typer.Option("--lease", min=1.0, help="Seconds of silence that mean a worker is dead.")
]


def run(
    file: Annotated[Path, typer.Argument(help="A study file.")],
    workers: Annotated[
        int, typer.Option(min=1, help="Processes on this machine that train beside each other.")
    ] = 1,
    storage: Storage = DEFAULT_STORAGE,
    device: Device = DeviceOption.AUTO,
    pack_members: PackMembers = 0,
    lease: LeaseSeconds = 30.0,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it; a finished one only prints its result."""
    from selection.store.address import read_address, require_server

    address = read_address(storage)
    if workers > 1:
        require_server(address, workers)

    from selection.data.sources import data_folder
    from selection.report import values
    from selection.report.terminal.progress import SweepView
    from selection.report.verdict import openings
    from selection.store.database import writer_lock
    from selection.store.leases import new_worker
    from selection.store.repository import open_repository
    from selection.study.budget import is_finished
    from selection.study.spec import read_study
    from selection.train.device import choose_device, share_of_machine
    from selection.workers.local import Team, supervise
    from selection.workflows.assess import assess_study
    from selection.workflows.nested_cv import check_nested
    from selection.workflows.run import run_procedure
    from selection.workflows.study_data import enter_study, load_study_data, make_trainer, row_facts
    from selection.workflows.sweep import run_sweep

    spec = read_study(file)
    chosen = choose_device(device.value)
    data = load_study_data(spec, data_folder())
    check_nested(spec, data)
    for warning in data.facts.warnings:
        say(f"warning: {warning}")
    with writer_lock(storage), open_repository(storage, create=True, write=True) as repository:
        study = enter_study(spec, data, repository.records, chosen)
        repository.evidence.keep_rows(study, row_facts(data))
        if others := openings(repository.ledger.openings_by_others(study)):
            say(f"warning: {others}")
        shares = share_of_machine(workers, chosen)
        trainer = make_trainer(spec, data, chosen, pack_members)
        with SweepView(spec.metric, is_minimised=spec.is_minimised, is_quiet=as_json) as view:

            def sweep() -> None:
                if workers == 1:
                    me = new_worker(lease, is_alone=address.path is not None)
                    run_sweep(spec, study, repository, trainer, me, view)
                    return
                trials = repository.records.trials(study, with_curves=False)
                if is_finished(spec, trials, repository.records.elapsed_seconds(study)):
                    return
                words = _worker_words(study.name, device, pack_members, lease)
                secret = {"SELECTION_STORAGE": address.secret_url}
                team = Team(words, [{**share, **secret} for share in shares])
                supervise(team, spec.budget, study, repository, view)

            run_procedure(spec, study, data, repository, trainer, chosen, view.say, sweep)
        assessment = assess_study(study, repository)
        seconds = repository.records.elapsed_seconds(study)
        shown = repository.database.url
    if as_json:
        print_json(values.run_value(assessment, shown, seconds))
        return
    _show_run(assessment, storage)


def worker(
    name: Name,
    storage: Storage = DEFAULT_STORAGE,
    device: Device = DeviceOption.AUTO,
    pack_members: PackMembers = 0,
    lease: LeaseSeconds = 30.0,
) -> None:
    """Train for a study that has begun, beside other workers, until it is spent."""
    from selection.data.sources import data_folder
    from selection.report.terminal.progress import SweepView
    from selection.store.address import read_address
    from selection.store.database import writer_lock
    from selection.store.leases import new_worker
    from selection.store.repository import open_repository
    from selection.train.device import choose_device
    from selection.workflows.study_data import check_rows, load_study_data, make_trainer
    from selection.workflows.sweep import run_sweep

    me = new_worker(lease, is_alone=read_address(storage).path is not None)
    is_supervised = SUPERVISED_VARIABLE in os.environ
    if is_supervised:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    chosen = choose_device(device.value)
    with writer_lock(storage), open_repository(storage, write=True) as repository:
        study = repository.study(name)
        spec = study.spec()
        data = load_study_data(spec, data_folder())
        check_rows(study, data)
        trainer = make_trainer(spec, data, chosen, pack_members)
        retries = spec.sections.search.max_retries
        with SweepView(
            spec.metric, is_minimised=spec.is_minimised, shows_bars=not is_supervised
        ) as view:
            run_sweep(spec, study, repository, trainer, me, view, max_retries=retries)
    print(f"study {name} takes no more trials; selection run FILE trains its baselines")


def _stop_at_end_of_input() -> None:
    """End with the supervisor, however it ended: its end of the pipe closes."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _worker_words(name: str, device: DeviceOption, pack_members: int, lease: float) -> list[str]:
    options = [f"--device={device.value}", f"--pack-members={pack_members}", f"--lease={lease}"]
    return ["worker", *options, "--", name]


def _show_run(assessment: Assessment, storage: str) -> None:
    """Print the leaders, the verdict and what comes next."""
    from selection.report.terminal import text, verdict

    study = assessment.study
    console = text.make_console()
    every = command("trials", study.name, storage=storage)
    text.leaderboard(console, study, assessment.trials, more=every)
    evaluate = command("evaluate", study.name, storage=storage)
    verdict.winner(console, assessment, evaluate)
    text.next_steps(
        console,
        [
            *([] if assessment.evaluations else [evaluate]),
            command("export", study.name, "--to", "exports", storage=storage),
            f"{command('trials', study.name, '-f', 'csv', storage=storage)} > trials.csv",
        ],
    )
