"""Chooses where the workers of a study run, as [run] of its file says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from selection.errors import ErrorDetail, StudyStateError, install_command
from selection.study.spec import StudySpec
from selection.train.device import DeviceName, choose_device, share_of_machine
from selection.workers.launcher import Launcher
from selection.workers.local import LocalLauncher
from selection.workers.team import Team
from selection.workers.training import WorkerSetup, setup_of
from selection.workflows.callbacks import TeamView
from selection.workflows.study_data import StudyData


def check_workers(spec: StudySpec) -> None:
    """Refuse what [run] asks for and this installation does not have, before anything is read.

    Raises: StudyStateError.
    """
    run = spec.sections.run
    if run.on == "ray" and find_spec("ray") is None:
        rule, hint = "workers on Ray need the package ray", f"Run: {install_command('ray')}"
        raise StudyStateError(ErrorDetail("--on ray", rule, "none", hint))
    if run.on == "processes" and (run.workers or 1) > 1 and os.name != "posix":
        rule, hint = "several workers on one machine need Linux or macOS", "Leave --workers out."
        raise StudyStateError(ErrorDetail("--workers", rule, os.name, hint))


@contextmanager
def team_of(
    spec: StudySpec, data: StudyData, device: DeviceName, pack_members: int, view: TeamView
) -> Iterator[Team | None]:
    """Yield the team that trains a study, not started yet; None where this process trains alone."""
    run = spec.sections.run
    if run.on == "processes" and (run.workers or 1) == 1:
        yield None
        return

    def launch() -> Launcher:
        setup = setup_of(spec, data, device, pack_members)
        return _ray(spec, setup) if run.on == "ray" else _local(spec, setup)

    team = Team(launch, view.say)
    try:
        yield team
    finally:
        team.stop()


def _local(spec: StudySpec, setup: WorkerSetup) -> Launcher:
    workers = spec.sections.run.workers or 1
    return LocalLauncher(setup, share_of_machine(workers, choose_device(setup.device)))


def _ray(spec: StudySpec, setup: WorkerSetup) -> Launcher:
    from selection.workers.ray import RayLauncher

    return RayLauncher(spec.sections.run, setup)
