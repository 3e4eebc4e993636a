"""Make room for what the metric needs of a member's predictions at the rungs of the pruner.

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("selection_fold", sa.Column("rungs", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("selection_fold", "rungs")
