"""What is over takes less space: digests as bytes, and indexes of what waits or belongs to somebody alone.

Revision ID: 0030
Revises: 0029
"""

import hashlib

from alembic import op

revision = '0030'
down_revision = '0029'

LEFT = ('ix_jobs_owner', 'ix_jobs_moves', 'ix_jobs_turn', 'ix_jobs_folder_key', 'ix_jobs_duplicate_of')
LEFT_OF_CHUNKS = ('ix_chunks_owner', 'ix_chunks_turn', 'ix_chunks_folder_key')
PARTIAL = (
    'CREATE INDEX ix_jobs_owner ON jobs (owner) WHERE owner IS NOT NULL',
    'CREATE INDEX ix_jobs_moves ON jobs (moves, root, state) WHERE moves = true',
    "CREATE INDEX ix_jobs_turn ON jobs (state, turn) WHERE state IN ('queued')",
    "CREATE INDEX ix_jobs_folder_key ON jobs (folder_key, turn) WHERE state IN ('queued')",
    'CREATE INDEX ix_jobs_duplicate_of ON jobs (duplicate_of) WHERE duplicate_of IS NOT NULL',
    'CREATE INDEX ix_chunks_owner ON chunks (owner) WHERE owner IS NOT NULL',
    "CREATE INDEX ix_chunks_turn ON chunks (queue, turn) WHERE state IN ('queued')",
    "CREATE INDEX ix_chunks_folder_key ON chunks (folder_key, turn) WHERE state IN ('queued')",
)
IN_NO_LINE = """
UPDATE chunks SET folder_key = '', queue = '' WHERE state IN ('done', 'split') AND (folder_key <> '' OR queue <> '')
"""


def as_bytes(value: str | None) -> bytes | None:
    """What is no digest stays what it is."""
    if value is None:
        return None
    try:
        return bytes.fromhex(value)
    except ValueError:
        return value.encode()


def digest_of(value: str | None) -> bytes | None:
    return None if value is None else hashlib.sha256(value.encode()).digest()[:16]


def of_sqlite() -> None:
    driver = op.get_bind().connection.driver_connection
    assert driver
    driver.create_function('as_bytes', 1, as_bytes, deterministic=True)
    driver.create_function('digest_of', 1, digest_of, deterministic=True)
    op.execute(
        'UPDATE jobs SET path_key = as_bytes(path_key), identity = as_bytes(substr(identity, 1, 32)), '
        'content_key = digest_of(content_key)'
    )
    for table in ('parts', 'forgotten'):
        op.execute(f'UPDATE {table} SET path_key = as_bytes(path_key)')
    op.execute(
        'UPDATE outputs SET path_key = as_bytes(path_key), sha256 = as_bytes(sha256), replaced = as_bytes(replaced)'
    )


def bytes_of(column: str, digits: int) -> str:
    """How PostgreSQL makes a digest of the column its first so many digits."""
    begin = f'substr({column}, 1, {digits})'
    is_digest = f"{begin} ~ '^([0-9a-f]{{2}})*$'"
    return f"CASE WHEN {is_digest} THEN decode({begin}, 'hex') ELSE convert_to({begin}, 'UTF8') END"


def change(table: str, **made: str) -> None:
    """All at once, since each change of a type has the whole table written again."""
    op.execute(f"ALTER TABLE {table} {', '.join(f'ALTER {name} TYPE BYTEA USING {how}' for name, how in made.items())}")


def of_postgresql() -> None:
    content = "substring(sha256(convert_to(content_key, 'UTF8')) FROM 1 FOR 16)"
    change('jobs', path_key=bytes_of('path_key', 32), identity=bytes_of('identity', 32), content_key=content)
    for table in ('parts', 'forgotten'):
        change(table, path_key=bytes_of('path_key', 32))
    change('outputs', **{name: bytes_of(name, 64) for name in ('path_key', 'sha256', 'replaced')})
    change('transcripts', document="convert_to(document, 'UTF8')")


def upgrade() -> None:
    for table, names in (('jobs', LEFT), ('chunks', LEFT_OF_CHUNKS)):
        for name in names:
            op.drop_index(name, table_name=table)
    op.execute(IN_NO_LINE)
    (of_sqlite if op.get_bind().dialect.name == 'sqlite' else of_postgresql)()
    for statement in PARTIAL:
        op.execute(statement)
