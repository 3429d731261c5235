"""Chunks overlap, are held back, halved, or a line-up of speakers; speakers have names.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('speakers', sa.JSON(), nullable=False, server_default='{}'))
    with op.batch_alter_table('chunks', schema=None) as batch_op:
        batch_op.add_column(sa.Column('kind', sa.String(length=8), nullable=False, server_default='window'))
        batch_op.add_column(sa.Column('depth', sa.Integer(), nullable=False, server_default='0'))
        batch_op.add_column(sa.Column('keep_from', sa.Double(), nullable=False, server_default='0'))
        batch_op.add_column(sa.Column('keep_to', sa.Double(), nullable=False, server_default='0'))
        batch_op.add_column(sa.Column('clips', sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column('missing', sa.JSON(), nullable=False, server_default='[]'))
    # Chunks planned before did not overlap: each tells what is said in it.
    op.execute('UPDATE chunks SET keep_from = start, keep_to = "end"')
