"""All of SQLAlchemy and Alembic: what a study did, kept for good."""
