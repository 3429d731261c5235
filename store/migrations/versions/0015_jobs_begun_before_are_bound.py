"""Jobs that an earlier version began are bound to the model that transcribed them, as those begun since are.

Until 0012, several models may have shared a recording: then it is the one that transcribed the most of it.

Revision ID: 0015
Revises: 0014
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0014'

JOBS = sa.table('jobs', *map(sa.column, ('id', 'state', 'model_queue', 'wanted_queue')))
CHUNKS = sa.table('chunks', *map(sa.column, ('job_id', 'kind', 'state')), sa.column('engine', sa.JSON()))


def upgrade() -> None:
    connection = op.get_bind()
    # No window of what is done is ever transcribed again.
    going_on = JOBS.c.state.not_in(('done', 'duplicate'))
    free = sa.select(JOBS.c.id).where(JOBS.c.model_queue == JOBS.c.wanted_queue, going_on)
    done = (CHUNKS.c.kind == 'window', CHUNKS.c.state == 'done', CHUNKS.c.job_id.in_(free))
    transcribed: dict[str, Counter[str]] = defaultdict(Counter)
    for job_id, engine in connection.execute(sa.select(CHUNKS.c.job_id, CHUNKS.c.engine).where(*done)):
        transcribed[job_id].update(filter(None, [engine and _queue_of(engine)]))
    bound = [{'job': job_id, 'queue': queues.most_common(1)[0][0]} for job_id, queues in transcribed.items() if queues]
    if bound:
        the_job = JOBS.c.id == sa.bindparam('job')
        connection.execute(sa.update(JOBS).where(the_job).values(model_queue=sa.bindparam('queue')), bound)


def _queue_of(engine: Mapping[str, Any]) -> str:
    """The queue of the workers with that model, as this version calls it; empty where a part of it is not known."""
    name, precision, checkpoint = map(str, map(engine.get, ('engine', 'precision', 'model'), ('', '', '')))
    if not all((name, precision, checkpoint)):
        return ''
    short = re.sub(r'[^A-Za-z0-9._-]', '-', checkpoint.partition('@')[0].rstrip('/').rpartition('/')[2])[:20]
    text = f'{name} {precision} {checkpoint}'.encode('utf-8', 'surrogateescape')
    return f'{f"model={name}.{precision}.{short}"[:41]}~{hashlib.sha256(text).hexdigest()[:6]}'
