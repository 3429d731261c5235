"""What ended last is found by an index, in a root and in all.

Revision ID: 0022
Revises: 0021
"""

from alembic import op

revision = '0022'
down_revision = '0021'


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.drop_index('ix_jobs_root')
        batch_op.drop_index('ix_jobs_finished')
        batch_op.create_index('ix_jobs_root', ['root', 'state', 'finished_at'], unique=False)
        batch_op.create_index('ix_jobs_finished', ['state', 'finished_at'], unique=False)
