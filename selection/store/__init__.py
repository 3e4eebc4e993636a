"""All of SQLAlchemy and Alembic: stores everything that a study did."""
