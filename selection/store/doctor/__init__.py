"""Finds what is wrong in a database that selection wrote, and fixes what is safe to fix.

Other tools, other programs and broken disks can change our rows. What a trial scored is never
changed: where that is damaged, only a copy of the database helps. Nothing is deleted either: rows
that belong to nothing go into the quarantine, from where restore() brings them back.
"""

from selection.store.doctor.diagnosis import examine
from selection.store.doctor.findings import Finding
from selection.store.doctor.repair import fix
from selection.store.quarantine import Restored, kept_rows, restore

__all__ = ["Finding", "Restored", "examine", "fix", "kept_rows", "restore"]
