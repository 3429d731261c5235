"""The last turn that was claimed is kept for each queue and priority.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = '0023'
down_revision = '0022'

# As if what waits now had been next: a row that joins must not go before all of them.
FROM_JOBS = """
INSERT INTO last_turns (queue, priority, turn)
SELECT 'cpu', priority, min(turn) FROM jobs WHERE state = 'queued' GROUP BY priority
"""
FROM_CHUNKS = """
INSERT INTO last_turns (queue, priority, turn)
SELECT jobs.model_queue, jobs.priority, min(chunks.turn) FROM chunks JOIN jobs ON jobs.id = chunks.job_id
WHERE chunks.state IN ('queued', 'running') AND chunks.kind = 'window' GROUP BY jobs.model_queue, jobs.priority
"""


def upgrade() -> None:
    op.create_table(
        'last_turns',
        sa.Column('queue', sa.String(length=48), nullable=False),
        sa.Column('priority', sa.String(length=8), nullable=False),
        sa.Column('turn', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('queue', 'priority', name=op.f('pk_last_turns')),
    )
    op.execute(FROM_JOBS)
    op.execute(FROM_CHUNKS)
