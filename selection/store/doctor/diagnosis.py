"""Runs every check over every study of a database, at one moment."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from selection.errors import SelectionError, show
from selection.store.clock import database_now
from selection.store.database import Database
from selection.store.doctor.checks import (
    damage,
    damage_in_quarantine,
    file_findings,
    fixable_findings,
    ledger_findings,
    open_claims,
    partial_points,
    study_findings,
    trial_findings,
)
from selection.store.doctor.findings import Finding, finding
from selection.store.doctor.orphans import orphans, unknown_copies, unlinked, unmarked
from selection.store.doctor.schema import schema_findings
from selection.store.doctor.study_rows import read_rows
from selection.store.links import broken_links
from selection.store.optuna_rows import studies
from selection.store.schema_parts import missing_parts
from selection.store.study_record import StudyRecord, record_from_row
from selection.store.study_transaction import our_studies


def examine(database: Database) -> list[Finding]:
    """Return all problems in one snapshot of a database.

    Raises: StorageError.
    """
    with database.reading() as connection:
        # The snapshot is of this moment, and leases must be judged by the same moment.
        now = database_now(connection)
        lacking = list(schema_findings(missing_parts(connection)))
        if any(each.check == "table" for each in lacking):
            # Without a table, nothing else can be read.
            return lacking
        records, unreadable = read_studies(connection)
        broken = broken_links(connection)
        found = [
            *lacking,
            *orphans(connection, broken),
            *unlinked(broken),
            *unmarked(broken),
            *unknown_copies(connection, broken),
            *unreadable,
        ]
        for study in records:
            rows = read_rows(connection, study, now)
            found += fixable_findings(connection, rows)
            found += [*trial_findings(connection, rows), *study_findings(rows)]
            found += [*open_claims(connection, study), *partial_points(connection, study)]
        # Last, because it takes long: workers that hold a lease above may end meanwhile.
        for study in records:
            found += [*file_findings(connection, study), *damage(connection, study)]
        found += ledger_findings(connection)
        found += damage_in_quarantine(connection)
    return found


def read_studies(connection: Connection) -> tuple[list[StudyRecord], list[Finding]]:
    """Return our studies by name, and a finding for each that cannot be read."""
    records: list[StudyRecord] = []
    unreadable: list[Finding] = []
    rows = connection.execute(our_studies().order_by(studies.c.study_name)).all()
    for row in rows:
        try:
            record = record_from_row(row)
            record.spec()
        except (ValueError, KeyError, TypeError, AttributeError, SelectionError) as error:
            rule = "the stored study must be readable; nothing else of it was checked"
            hint = (
                "Use the version of selection that wrote it, or restore the database from a backup."
            )
            got = show(str(error).partition("\n")[0].rstrip("."))
            unreadable.append(finding(row.study_name, "file", rule, got, hint))
        else:
            records.append(record)
    return records, unreadable
