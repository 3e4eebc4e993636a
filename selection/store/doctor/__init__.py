"""Finds what is wrong in a database that selection wrote, and fixes what is safe to fix.

Other tools, other programs and broken disks can change our rows. What a trial scored is never
changed: where that is damaged, only a copy of the database helps.
"""

from selection.store.doctor.diagnosis import examine
from selection.store.doctor.findings import Finding
from selection.store.doctor.repair import fix

__all__ = ["Finding", "examine", "fix"]
