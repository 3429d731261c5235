"""CPU workers embed the voices of a recording, whose speakers are then told apart; some voices have names.

The line-ups, which models read for that before, are gone: jobs that waited for one go on without.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'

WAITED_FOR_A_LINE_UP = """
    UPDATE jobs SET state = 'finishing', sent_at = NULL
    WHERE state = 'transcribing' AND duplicate_of IS NULL
      AND EXISTS (SELECT 1 FROM chunks WHERE chunks.job_id = jobs.id AND chunks.kind = 'lineup')
"""


def upgrade() -> None:
    op.execute(WAITED_FOR_A_LINE_UP)
    op.execute("DELETE FROM chunks WHERE kind = 'lineup'")
    op.drop_column('chunks', 'clips')
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('diarization', sa.JSON(), nullable=True))
    op.create_table(
        'voices',
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('encoder', sa.String(length=128), nullable=False),
        sa.Column('embedding', sa.JSON(), nullable=False),
        sa.Column('seconds', sa.Double(), nullable=False),
        sa.Column('enrolled_at', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_voices')),
    )
