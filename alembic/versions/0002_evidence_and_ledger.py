"""Lay the tables that an assessment rests on, and the held-out ledger.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _of_study(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["study_uuid"],
        ["selection_study.uuid"],
        name=f"fk_{table}_study_uuid",
        ondelete="CASCADE",
    )


def upgrade() -> None:
    op.create_table(
        "selection_rows",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("targets", sa.LargeBinary, nullable=False),
        sa.Column("folds", sa.LargeBinary, nullable=False),
        sa.Column("row_groups", sa.LargeBinary),
        sa.PrimaryKeyConstraint("study_uuid", name="pk_selection_rows"),
        _of_study("selection_rows"),
    )
    op.create_table(
        "selection_baseline",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("repeat", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("fold", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("outputs_columns", sa.Integer, nullable=False),
        sa.Column("outputs", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(
            "study_uuid", "name", "repeat", "fold", name="pk_selection_baseline"
        ),
        _of_study("selection_baseline"),
    )
    op.create_table(
        "selection_nested",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("fold", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("params_json", sa.Text, nullable=False),
        sa.Column("inner_score", sa.Double, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("study_uuid", "fold", name="pk_selection_nested"),
        _of_study("selection_nested"),
    )
    op.create_table(
        "selection_model",
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("seed", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("document_json", sa.Text, nullable=False),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("weights", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("study_uuid", "number", "seed", name="pk_selection_model"),
        _of_study("selection_model"),
    )
    op.create_table(
        "selection_ledger",
        sa.Column("data_fingerprint", sa.String(128), nullable=False),
        sa.Column("held_out_fingerprint", sa.String(128), nullable=False),
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("evaluation", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("study_name", sa.String(512), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("rule", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("claimed_at", sa.DateTime, nullable=False),
        sa.Column("evaluated_at", sa.DateTime),
        sa.Column("result_json", sa.Text),
        sa.Column("outputs_columns", sa.Integer),
        sa.Column("outputs", sa.LargeBinary),
        sa.PrimaryKeyConstraint(
            "data_fingerprint",
            "held_out_fingerprint",
            "study_uuid",
            "evaluation",
            name="pk_selection_ledger",
        ),
    )


def downgrade() -> None:
    for name in ("ledger", "model", "nested", "baseline", "rows"):
        op.drop_table(f"selection_{name}")
