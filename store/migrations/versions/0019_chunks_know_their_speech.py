"""Chunks know where in them somebody speaks; those planned before have it of their job. One index finds those of a job.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = '0019'
down_revision = '0018'


def upgrade() -> None:
    with op.batch_alter_table('chunks', schema=None) as batch_op:
        batch_op.add_column(sa.Column('speech', sa.JSON(), nullable=True))
        batch_op.create_index('ix_chunks_of_job', ['job_id', 'kind', 'state', 'start'], unique=False)
        batch_op.drop_index(batch_op.f('ix_chunks_job_id'))
