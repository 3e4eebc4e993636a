"""What the verbs of the command line share: options, the record they read, and how they print."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from selection.errors import Fault, StudyStateError

if TYPE_CHECKING:
    from selection.assessment import Assessment
    from selection.store.database import Database
    from selection.store.evidence import Evidence
    from selection.store.ledger import Ledger
    from selection.store.records import Records
    from selection.store.study_record import StudyRecord
    from selection.study.fields import Rule

DEFAULT_STORAGE = "sqlite:///selection.db"


class Format(StrEnum):
    """Name how a table is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class DeviceOption(StrEnum):
    """Name the device to train on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Storage = Annotated[
    str,
    typer.Option(envvar="SELECTION_STORAGE", help="Database URL: SQLite or PostgreSQL."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Name = Annotated[str, typer.Argument(help="Name of a study.")]
OptionalName = Annotated[str | None, typer.Argument(help="Name of a study; the newest if omitted.")]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How to print the table.")]


RuleOption = Annotated[
    Literal["best", "one_standard_error"] | None,
    typer.Option("--rule", help="Choose by another rule than the study file's."),
]
Device = Annotated[DeviceOption, typer.Option(help="Where to train.")]


@dataclass(frozen=True, eq=False)
class Books:
    """Hold all that an open database keeps: trials, evidence, ledger."""

    database: Database
    records: Records
    evidence: Evidence
    ledger: Ledger

    def study(self, name: str) -> StudyRecord:
        """Return a study by name.

        Raises: StudyStateError with the nearest name.
        """
        from selection.study.faults import nearest_name, show

        study = self.records.find_study(name)
        if study is None:
            known = [summary.name for summary in self.records.list_studies()]
            mend = nearest_name(name, known) if known else "Begin one: selection run FILE."
            raise StudyStateError(
                Fault("study", "the database must know the study", show(name), mend)
            )
        return study

    def newest_study(self) -> StudyRecord:
        """Return the study that began last.

        Raises: StudyStateError without any.
        """
        summaries = self.records.list_studies()
        if not summaries:
            rule = "the database must hold a study"
            raise StudyStateError(Fault("study", rule, "none", "Begin one: selection run FILE."))
        return self.study(summaries[-1].name)

    def assess(self, study: StudyRecord, rule: Rule | None = None) -> Assessment:
        """Choose the winner of a study and say how sure that is."""
        from selection.assessment import assess_study

        return assess_study(study, self.records, self.evidence, self.ledger, rule)


@contextmanager
def open_books(storage: str, *, create: bool = False, write: bool = False) -> Iterator[Books]:
    """Open a database; it is closed again whatever happens."""
    from selection.store.database import open_database
    from selection.store.evidence import Evidence
    from selection.store.ledger import Ledger
    from selection.store.records import Records

    with open_database(storage, create=create, write=write) as database:
        yield Books(database, Records(database), Evidence(database), Ledger(database))


def command(*words: str, storage: str) -> str:
    """Return a command as this user can type it: by its path where it is not on PATH."""
    program = "selection"
    if shutil.which(program) is None:
        program = os.path.relpath(sys.argv[0])
    given = [] if "SELECTION_STORAGE" in os.environ or storage == DEFAULT_STORAGE else [storage]
    return shlex.join([program, *words, *(f"--storage={url}" for url in given)])


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows of equal keys as CSV."""
    from selection.report.csv_text import csv_text

    sys.stdout.write(csv_text(rows))


def say(line: str) -> None:
    """Print a line of progress, apart from results."""
    print(line, file=sys.stderr)
