"""Windows that wait know their queue, so that the next of one is found without all that waits in others.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = '0026'
down_revision = '0025'

FROM_JOBS = """
UPDATE chunks SET queue = (SELECT model_queue FROM jobs WHERE jobs.id = chunks.job_id)
WHERE state IN ('queued', 'running') AND kind = 'window'
"""
REQUEUED = "UPDATE chunks SET queue = new.model_queue WHERE job_id = new.id AND state IN ('queued', 'running');"
SQLITE = (
    f"""
CREATE TRIGGER jobs_requeued AFTER UPDATE OF model_queue ON jobs WHEN old.model_queue <> new.model_queue
BEGIN {REQUEUED} END
""",
)
POSTGRESQL = (
    f"""
CREATE FUNCTION requeue_windows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  {REQUEUED}
  RETURN NULL;
END
$$
""",
    """
CREATE TRIGGER jobs_requeued AFTER UPDATE OF model_queue ON jobs FOR EACH ROW
WHEN (old.model_queue <> new.model_queue) EXECUTE FUNCTION requeue_windows()
""",
)


def upgrade() -> None:
    op.add_column('chunks', sa.Column('queue', sa.String(length=48), server_default='', nullable=False))
    op.execute(FROM_JOBS)
    op.drop_index('ix_chunks_turn', table_name='chunks')
    op.create_index('ix_chunks_turn', 'chunks', ['queue', 'state', 'turn'])
    for statement in SQLITE if op.get_bind().dialect.name == 'sqlite' else POSTGRESQL:
        op.execute(statement)
