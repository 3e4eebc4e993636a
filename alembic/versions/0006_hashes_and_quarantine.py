"""Make room for a hash of every row, for the chain of the ledger, and for rows without an owner.

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LEDGER = ("position", "chain_hash", "row_hash")


def upgrade() -> None:
    op.add_column("selection_study", sa.Column("row_hash", sa.String(64)))
    op.add_column("selection_trial", sa.Column("row_hash", sa.String(64)))
    op.add_column("selection_ledger", sa.Column("position", sa.Integer))
    op.add_column("selection_ledger", sa.Column("chain_hash", sa.String(64)))
    op.add_column("selection_ledger", sa.Column("row_hash", sa.String(64)))
    op.create_table(
        "selection_ledger_end",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("chain_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_selection_ledger_end"),
    )
    op.create_table(
        "selection_quarantine",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("moved_at", sa.DateTime, nullable=False),
        sa.Column("table_name", sa.String(64), nullable=False),
        sa.Column("study_uuid", sa.String(36)),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("row_json", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_selection_quarantine"),
    )


def downgrade() -> None:
    op.drop_table("selection_quarantine")
    op.drop_table("selection_ledger_end")
    for name in reversed(LEDGER):
        op.drop_column("selection_ledger", name)
    op.drop_column("selection_trial", "row_hash")
    op.drop_column("selection_study", "row_hash")
