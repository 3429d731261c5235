"""Settings that a folder has of its own, for its recordings; folders that wait until theirs are mended.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('overrides', sa.JSON(), server_default='{}', nullable=False))
        batch_op.add_column(sa.Column('model_queue', sa.String(length=48), server_default='model', nullable=False))
    with op.batch_alter_table('roots', schema=None) as batch_op:
        batch_op.add_column(sa.Column('waiting', sa.JSON(), server_default='[]', nullable=False))
