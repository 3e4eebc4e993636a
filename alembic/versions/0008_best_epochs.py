"""Make room for the epoch that scores a trial, where it is not the last.

Revision: 0008, after 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("selection_trial", "selection_curve")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("best_epoch", sa.Integer))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "best_epoch")
