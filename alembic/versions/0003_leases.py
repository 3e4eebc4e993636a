"""Lay the table of leases, by which several workers share one study.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "selection_lease",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("cohort", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("worker", sa.String(36), nullable=False),
        sa.Column("place", sa.String(255), nullable=False),
        sa.Column("home", sa.String(255), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("lost", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.Column("trials", sa.Integer, nullable=False),
        sa.Column("members", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("study_uuid", "cohort", name="pk_selection_lease"),
        sa.ForeignKeyConstraint(
            ["study_uuid"],
            ["selection_study.uuid"],
            name="fk_selection_lease_study_uuid",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_selection_trial_study_uuid_cohort", "selection_trial", ["study_uuid", "cohort"]
    )


def downgrade() -> None:
    op.drop_index("ix_selection_trial_study_uuid_cohort", "selection_trial")
    op.drop_table("selection_lease")
