"""Recordings that are put away once their job ended, and where.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        # A default that SQLite can add in place: to copy the table would delete what refers to it.
        batch_op.add_column(sa.Column('moves', sa.Boolean(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('moving_to', sa.Text(), nullable=True))
        batch_op.create_index('ix_jobs_moves', ['moves', 'state'])
