"""Jobs that ended are counted as they end, and those of a root are found without looking at all others.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = '0016'
down_revision = '0015'

FINAL = "('done', 'suspect', 'duplicate', 'failed', 'parked', 'cancelled')"
ADDED = f"INSERT INTO ended (root, state, jobs) SELECT new.root, new.state, 1 WHERE new.state IN {FINAL};"
TAKEN = f"INSERT INTO ended (root, state, jobs) SELECT old.root, old.state, -1 WHERE old.state IN {FINAL};"
SQLITE = (
    f"CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN {ADDED} END",
    f"CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN {TAKEN} END",
    f"""
CREATE TRIGGER jobs_recounted AFTER UPDATE OF state, root ON jobs WHEN old.state <> new.state OR old.root <> new.root
BEGIN {TAKEN} {ADDED} END
""",
)
POSTGRESQL = (
    f"""
CREATE FUNCTION count_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN {TAKEN} END IF;
  IF TG_OP <> 'DELETE' THEN {ADDED} END IF;
  RETURN NULL;
END
$$
""",
    """
CREATE TRIGGER jobs_counted AFTER INSERT OR DELETE ON jobs
FOR EACH ROW EXECUTE FUNCTION count_ended()
""",
    """
CREATE TRIGGER jobs_recounted AFTER UPDATE OF state, root ON jobs FOR EACH ROW
WHEN (old.state <> new.state OR old.root <> new.root) EXECUTE FUNCTION count_ended()
""",
)


def upgrade() -> None:
    op.create_table('ended',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('root', sa.Text(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('jobs', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ended'))
    )
    op.create_index('ix_jobs_root', 'jobs', ['root', 'created_at'], unique=False)
    op.execute(
        f"INSERT INTO ended (root, state, jobs) SELECT root, state, count(*) FROM jobs WHERE state IN {FINAL} "
        "GROUP BY root, state"
    )
    for statement in SQLITE if op.get_bind().dialect.name == 'sqlite' else POSTGRESQL:
        op.execute(statement)
