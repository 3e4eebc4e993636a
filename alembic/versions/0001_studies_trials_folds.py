"""Lay the tables of studies, trials and folds.

Revision: 0001, the first
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "selection_study",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("optuna_study_id", sa.Integer, nullable=False),
        sa.Column("spec_json", sa.Text, nullable=False),
        sa.Column("spec_fingerprint", sa.String(128), nullable=False),
        sa.Column("data_fingerprint", sa.String(128), nullable=False),
        sa.Column("held_out_fingerprint", sa.String(128)),
        sa.Column("facts_json", sa.Text, nullable=False),
        sa.Column("environment_json", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_selection_study"),
        sa.UniqueConstraint("optuna_study_id", name="uq_selection_study_optuna_study_id"),
        sa.ForeignKeyConstraint(
            ["optuna_study_id"],
            ["studies.study_id"],
            name="fk_selection_study_optuna_study_id",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "selection_trial",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("study_uuid", sa.String(36), nullable=False),
        sa.Column("optuna_trial_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("cohort", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double),
        sa.PrimaryKeyConstraint("uuid", name="pk_selection_trial"),
        sa.UniqueConstraint("study_uuid", "number", name="uq_selection_trial_study_uuid_number"),
        sa.UniqueConstraint("optuna_trial_id", name="uq_selection_trial_optuna_trial_id"),
        sa.ForeignKeyConstraint(
            ["study_uuid"],
            ["selection_study.uuid"],
            name="fk_selection_trial_study_uuid",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["optuna_trial_id"],
            ["trials.trial_id"],
            name="fk_selection_trial_optuna_trial_id",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "selection_fold",
        sa.Column("trial_uuid", sa.String(36), nullable=False),
        sa.Column("repeat", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("fold", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("train_score", sa.Double),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("curve", sa.LargeBinary, nullable=False),
        sa.Column("outputs_rows", sa.Integer),
        sa.Column("outputs_columns", sa.Integer),
        sa.Column("outputs", sa.LargeBinary),
        sa.PrimaryKeyConstraint("trial_uuid", "repeat", "fold", name="pk_selection_fold"),
        sa.ForeignKeyConstraint(
            ["trial_uuid"],
            ["selection_trial.uuid"],
            name="fk_selection_fold_trial_uuid",
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    op.drop_table("selection_fold")
    op.drop_table("selection_trial")
    op.drop_table("selection_study")
