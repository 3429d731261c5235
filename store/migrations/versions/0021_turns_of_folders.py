"""What waits has a turn, so that folders take turns: one file does not wait for the thousand of another folder.

Revision ID: 0021
Revises: 0020
"""

import hashlib
from collections import Counter

import sqlalchemy as sa
from alembic import op

from dropscribe.store.tables import FileName

revision = '0021'
down_revision = '0020'

LEVEL = 1e12
FIRST_TURN = {'high': 0.0, 'normal': LEVEL, 'low': 2 * LEVEL}

jobs = sa.table(
    'jobs',
    sa.column('id'),
    sa.column('root', FileName()),
    sa.column('path', FileName()),
    sa.column('priority'),
    sa.column('state'),
    sa.column('created_at'),
    sa.column('turn'),
    sa.column('folder_key'),
)
chunks = sa.table('chunks', *map(sa.column, ('job_id', 'start', 'turn', 'folder_key')))


def upgrade() -> None:
    for table in ('jobs', 'chunks'):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column('folder_key', sa.String(length=32), server_default='', nullable=False))
            batch_op.add_column(sa.Column('turn', sa.Double(), server_default='0', nullable=False))
    op.create_index('ix_jobs_turn', 'jobs', ['state', 'turn'])
    op.create_index('ix_jobs_folder_key', 'jobs', ['folder_key', 'state', 'turn'])
    op.create_index('ix_chunks_turn', 'chunks', ['state', 'kind', 'turn'])
    op.create_index('ix_chunks_folder_key', 'chunks', ['folder_key', 'state', 'turn'])
    _give_turns(op.get_bind())


def _give_turns(connection: sa.Connection) -> None:
    """To what is under way, in the order in which it came."""
    before: Counter[str] = Counter()
    under_way = sa.select(jobs).where(jobs.c.state.in_(['queued', 'preparing', 'transcribing', 'finishing']))
    for row in connection.execute(under_way.order_by(jobs.c.created_at)).all():
        folder = f'{row.root.rstrip("/")}/{row.path}'.rpartition('/')[0]
        key = hashlib.sha256(folder.encode('utf-8', 'surrogateescape')).hexdigest()[:32]
        before[key] += 1
        placed = {'folder_key': key, 'turn': FIRST_TURN.get(row.priority, LEVEL) + before[key]}
        connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(placed))
        later = placed | {'turn': chunks.c.start + placed['turn']}
        connection.execute(sa.update(chunks).where(chunks.c.job_id == row.id).values(later))
