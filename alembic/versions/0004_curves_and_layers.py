"""Lay the table of validation and sample-size curves, and a place for what layers did.

Revision: 0004, after 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "selection_curve",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("over", sa.String(32), nullable=False),
        sa.Column("value_json", sa.String(64), nullable=False),
        sa.Column("repeat", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("fold", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("curve", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(
            "study_uuid",
            "number",
            "over",
            "value_json",
            "repeat",
            "fold",
            name="pk_selection_curve",
        ),
        sa.ForeignKeyConstraint(
            ["study_uuid"],
            ["selection_study.uuid"],
            name="fk_selection_curve_study_uuid",
            ondelete="CASCADE",
        ),
    )
    op.add_column("selection_fold", sa.Column("layers", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("selection_fold", "layers")
    op.drop_table("selection_curve")
