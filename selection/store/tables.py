"""Our tables: what Optuna has no column for, and nothing that it already stores.

All names begin with selection_. The keys are our own; Optuna's integer ids are only pointers. When
Optuna's study is deleted, our rows are deleted with it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

PREFIX = "selection_"
VERSION_TABLE = "selection_alembic_version"

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# Optuna's tables, as far as our foreign keys need them; migrations do not change them.
sa.Table("studies", metadata, sa.Column("study_id", sa.Integer, primary_key=True))
sa.Table("trials", metadata, sa.Column("trial_id", sa.Integer, primary_key=True))

# Times are UTC without a zone, as in Optuna's tables. Columns named _json contain JSON. row_hash is
# a hash of the rest of the row, by which changes are detected: see seals.py for those of studies
# and trials, ledger_chain.py for those of evaluations. It is NULL where an earlier version wrote
# the row.
study_table = sa.Table(
    "selection_study",
    metadata,
    sa.Column("uuid", sa.String(36), primary_key=True),
    sa.Column(
        "optuna_study_id",
        sa.Integer,
        sa.ForeignKey("studies.study_id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    sa.Column("spec_json", sa.Text, nullable=False),
    sa.Column("spec_fingerprint", sa.String(128), nullable=False),
    sa.Column("data_fingerprint", sa.String(128), nullable=False),
    sa.Column("held_out_fingerprint", sa.String(128)),
    sa.Column("facts_json", sa.Text, nullable=False),
    sa.Column("environment_json", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("row_hash", sa.String(64)),
)

# best_epoch is the epoch that scores the trial, where that is chosen by the best mean over folds.
trial_table = sa.Table(
    "selection_trial",
    metadata,
    sa.Column("uuid", sa.String(36), primary_key=True),
    sa.Column(
        "study_uuid",
        sa.String(36),
        sa.ForeignKey("selection_study.uuid", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column(
        "optuna_trial_id",
        sa.Integer,
        sa.ForeignKey("trials.trial_id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("cohort", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Double),
    sa.Column("row_hash", sa.String(64)),
    sa.Column("best_epoch", sa.Integer),
    sa.UniqueConstraint("study_uuid", "number"),
    sa.Index(None, "study_uuid", "cohort"),
)

# One row per member. A score that is NaN is NULL. The large columns come last, so that SQLite can
# read the others without them.
fold_table = sa.Table(
    "selection_fold",
    metadata,
    sa.Column(
        "trial_uuid",
        sa.String(36),
        sa.ForeignKey("selection_trial.uuid", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("repeat", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fold", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("score", sa.Double),
    sa.Column("train_score", sa.Double),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("curve", sa.LargeBinary, nullable=False),
    sa.Column("outputs_rows", sa.Integer),
    sa.Column("outputs_columns", sa.Integer),
    sa.Column("outputs", sa.LargeBinary),
    sa.Column("layers", sa.LargeBinary),
    sa.Column("rungs", sa.LargeBinary),
)


def _study_key() -> sa.Column[str]:
    """Return the first column of a key; its rows are deleted with their study."""
    study = sa.ForeignKey("selection_study.uuid", ondelete="CASCADE")
    return sa.Column("study_uuid", sa.String(36), study, primary_key=True)


# What the assessment of a study is based on. row_hash is the SHA-256 of the rest of the row, by
# which damage is detected. The development rows are written when the study starts.
rows_table = sa.Table(
    "selection_rows",
    metadata,
    _study_key(),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("targets", sa.LargeBinary, nullable=False),
    sa.Column("folds", sa.LargeBinary, nullable=False),
    sa.Column("row_groups", sa.LargeBinary),
)

# By which the held-out rows of a study are known again: held_out_rows are the hashes of their
# cells, table_hash is that of the whole table. An official held-out set has no row here.
held_out_table = sa.Table(
    "selection_held_out",
    metadata,
    _study_key(),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("table_hash", sa.String(64), nullable=False),
    sa.Column("held_out_rows", sa.LargeBinary, nullable=False),
)

# One row per baseline, repeat and fold.
baseline_table = sa.Table(
    "selection_baseline",
    metadata,
    _study_key(),
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("repeat", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fold", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("outputs_columns", sa.Integer, nullable=False),
    sa.Column("outputs", sa.LargeBinary, nullable=False),
)

# One row per outer fold of a nested cross-validation: what the whole procedure chose and scored.
nested_table = sa.Table(
    "selection_nested",
    metadata,
    _study_key(),
    sa.Column("fold", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("params_json", sa.Text, nullable=False),
    sa.Column("inner_score", sa.Double, nullable=False),
    sa.Column("score", sa.Double, nullable=False),
)

# Final models: the weights are a safetensors file, the document says what they mean.
model_table = sa.Table(
    "selection_model",
    metadata,
    _study_key(),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seed", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document_json", sa.Text, nullable=False),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("weights", sa.LargeBinary, nullable=False),
)

# One row per fold of each point of a validation or sample-size curve: the setting of the trial of
# this number, except that over has this value. Where over is "audit" nothing else is changed: a
# pruned trial was trained to its end, which is this many epochs. best_epoch is as in
# selection_trial.
curve_table = sa.Table(
    "selection_curve",
    metadata,
    _study_key(),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("over", sa.String(32), primary_key=True),
    sa.Column("value_json", sa.String(64), primary_key=True),
    sa.Column("repeat", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fold", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("curve", sa.LargeBinary, nullable=False),
    sa.Column("best_epoch", sa.Integer),
)

# What a study's assessment and its pages are based on, but its trials.
EVIDENCE = (
    rows_table,
    held_out_table,
    baseline_table,
    nested_table,
    model_table,
    curve_table,
)

# One row per cohort that a worker holds; deleted when the worker releases it or claims another.
# After expires_at, by the clock of the database, the worker is considered dead and any other may
# take the cohort. place is the worker's host and home its process identity. lost counts the workers
# in a row that died with it. The last four columns are its progress; trials is 0 once it is
# finished.
lease_table = sa.Table(
    "selection_lease",
    metadata,
    _study_key(),
    sa.Column("cohort", sa.Integer, primary_key=True, autoincrement=False),
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
)

# The evaluation ledger has no foreign key: it must outlive a deleted study. Its rows are a chain:
# position counts them from 1, and chain_hash is a hash of the claim and of the chain before it.
# table_hash and held_out_rows are those of selection_held_out; note says why a claim was returned.
ledger_table = sa.Table(
    "selection_ledger",
    metadata,
    sa.Column("data_fingerprint", sa.String(128), primary_key=True),
    sa.Column("held_out_fingerprint", sa.String(128), primary_key=True),
    sa.Column("study_uuid", sa.String(36), primary_key=True),
    sa.Column("evaluation", sa.Integer, primary_key=True, autoincrement=False),
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
    sa.Column("position", sa.Integer),
    sa.Column("chain_hash", sa.String(64)),
    sa.Column("row_hash", sa.String(64)),
    sa.Column("table_hash", sa.String(64)),
    sa.Column("held_out_rows", sa.LargeBinary),
    sa.Column("note", sa.Text),
)

# The end of the chain, in one row: without it, nobody would miss the last evaluations.
ledger_end_table = sa.Table(
    "selection_ledger_end",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("chain_hash", sa.String(64), nullable=False),
)

# Rows of ours that belonged to nothing, as JSON: the doctor moves them here and deletes nothing.
quarantine_table = sa.Table(
    "selection_quarantine",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("moved_at", sa.DateTime, nullable=False),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("study_uuid", sa.String(36)),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Column("row_json", sa.Text, nullable=False),
)


def content_of(table: sa.Table) -> list[sa.Column[Any]]:
    """Return the columns of a table without the hash, which the doctor alone reads."""
    return [column for column in table.c if column.name != "row_hash"]
