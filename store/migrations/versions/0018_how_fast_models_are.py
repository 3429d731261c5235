"""The speed of each model outlives its worker, and chunks say since when somebody works on them.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0017'


def upgrade() -> None:
    op.create_table(
        'speeds',
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('gpu', sa.String(length=64), nullable=False),
        sa.Column('model_queue', sa.String(length=48), nullable=False),
        sa.Column('audio_seconds', sa.Double(), nullable=False),
        sa.Column('busy_seconds', sa.Double(), nullable=False),
        sa.Column('measured_at', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('host', 'gpu', 'model_queue', name=op.f('pk_speeds')),
    )
    with op.batch_alter_table('chunks', schema=None) as batch_op:
        batch_op.add_column(sa.Column('claimed_at', sa.Double(), nullable=True))
