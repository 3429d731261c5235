"""Jobs keep the mark of their file as it was read, by which one that was replaced is noticed.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = '0014'
down_revision = '0013'


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('stamp', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('fingerprint', sa.String(length=32), server_default='', nullable=False))
