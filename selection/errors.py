"""Every error the house raises on purpose.

Each fault names its place, the rule that must hold, the value that broke it, and the mend.
A fault of the user's is one line on the screen; a stack trace is for our own mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """Say what is wrong, where, and how to mend it."""

    where: str
    rule: str
    got: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}, but got {self.got}. {self.mend}"


class SelectionError(Exception):
    """Carry one or more faults of the user's to the front that prints them."""

    exit_code = 1

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class StudyFileError(SelectionError):
    """A study file breaks a rule; all its faults are carried at once."""


class DataError(SelectionError):
    """The rows cannot be had, cannot be read, or break a rule of the study."""


class StorageError(SelectionError):
    """The database cannot be had, is of another schema, or is in use by another writer."""


class DeviceError(SelectionError):
    """The device asked for is absent."""


class UnreachableError(StorageError):
    """The server of the database does not answer now; the same may succeed a little later."""

    exit_code = 4


class StudyStateError(SelectionError):
    """The record of the study does not allow what was asked."""


class LostCohortError(StudyStateError):
    """A worker was silent for so long that its cohort was given to another."""


class ServeError(SelectionError):
    """The server cannot listen where it was told to."""


class ExportError(SelectionError):
    """A folder cannot be written as asked, or does not hold a model that can be read."""


class RefusedError(SelectionError):
    """The held-out set may not be opened, or the study may not go on because it was."""

    exit_code = 3
