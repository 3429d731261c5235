"""A chunk says which channel of the recording it is of, where these are transcribed one by one.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = '0013'
down_revision = '0012'


def upgrade() -> None:
    with op.batch_alter_table('chunks', schema=None) as batch_op:
        batch_op.add_column(sa.Column('channel', sa.Integer(), nullable=False, server_default='0'))
