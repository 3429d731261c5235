"""A recording is bound to the model that claims its first chunk; what its folder wanted stays known.

Workers say which queues they serve.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('wanted_queue', sa.String(length=48), server_default='model', nullable=False))
    with op.batch_alter_table('workers', schema=None) as batch_op:
        batch_op.add_column(sa.Column('queues', sa.JSON(), server_default='[]', nullable=False))
    op.execute('UPDATE jobs SET wanted_queue = model_queue')
