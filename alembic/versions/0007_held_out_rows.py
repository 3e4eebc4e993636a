"""Make room for the hashes by which held-out rows are known again, and for returned claims.

Revision: 0007, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

LEDGER = ("table_hash", "held_out_rows", "note")


def upgrade() -> None:
    op.add_column("selection_ledger", sa.Column("table_hash", sa.String(64)))
    op.add_column("selection_ledger", sa.Column("held_out_rows", sa.LargeBinary))
    op.add_column("selection_ledger", sa.Column("note", sa.Text))
    op.create_table(
        "selection_held_out",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("table_hash", sa.String(64), nullable=False),
        sa.Column("held_out_rows", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("study_uuid", name="pk_selection_held_out"),
        sa.ForeignKeyConstraint(
            ["study_uuid"],
            ["selection_study.uuid"],
            name="fk_selection_held_out_study_uuid",
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    op.drop_table("selection_held_out")
    for name in reversed(LEDGER):
        op.drop_column("selection_ledger", name)
