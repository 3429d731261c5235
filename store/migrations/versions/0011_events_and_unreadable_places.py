"""Events say which chunk and attempt they are about and which checks failed; unreadable places are rows.

What earlier versions said of that in words moves into the columns.

Revision ID: 0011
Revises: 0010
"""

import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'

NUMBER = r'(?P<chunk>e?\d+(?:\.\d+)*)'
ABOUT_CHUNK = {
    kind: re.compile(rf'chunk {NUMBER}(?P<rest>)$')
    for kind in ('transcribing', 'reading', 'transcribed', 'read', 'released')
} | {
    'retry': re.compile(rf'chunk {NUMBER}: (?P<rest>.*)$', re.DOTALL),
    'split': re.compile(rf'chunk {NUMBER} is (?P<rest>read again .*)$', re.DOTALL),
}
LOST = re.compile(r'(?P<what>attempt (?P<attempt>\d+) of .*) at \w+(?:\.(?P<chunk>[\w.]+))? was lost$', re.DOTALL)
BATCH = 1000

EVENTS = sa.table('events', *map(sa.column, ('id', 'kind', 'detail', 'chunk', 'attempt')), sa.column('rules', sa.JSON()))


def upgrade() -> None:
    with op.batch_alter_table('events', schema=None) as batch_op:
        batch_op.add_column(sa.Column('chunk', sa.String(length=24), server_default='', nullable=False))
        batch_op.add_column(sa.Column('attempt', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('rules', sa.JSON(), server_default='[]', nullable=False))
    with op.batch_alter_table('roots', schema=None) as batch_op:
        batch_op.add_column(sa.Column('unreadable', sa.JSON(), server_default='[]', nullable=False))
        batch_op.add_column(sa.Column('unreadable_count', sa.Integer(), server_default='0', nullable=False))
    _move_facts_into_columns(op.get_bind())


def _move_facts_into_columns(connection: sa.Connection) -> None:
    kinds = (*ABOUT_CHUNK, 'lost', 'failed_checks')
    query = sa.select(EVENTS.c.id, EVENTS.c.kind, EVENTS.c.detail).where(EVENTS.c.kind.in_(kinds), EVENTS.c.detail != '')
    last = -1
    while rows := connection.execute(query.where(EVENTS.c.id > last).order_by(EVENTS.c.id).limit(BATCH)).all():
        last = rows[-1].id
        for row in rows:
            if facts := _facts(row.kind, row.detail):
                connection.execute(sa.update(EVENTS).where(EVENTS.c.id == row.id).values(**facts))


def _facts(kind: str, detail: str) -> dict[str, Any] | None:
    if kind == 'failed_checks':
        return {'rules': detail.split(', '), 'detail': ''}
    if kind == 'lost':
        found = LOST.match(detail)
        return found and {
            'chunk': found['chunk'] or '',
            'attempt': int(found['attempt']),
            'detail': f'{found["what"]} was lost',
        }
    found = ABOUT_CHUNK[kind].match(detail)
    return found and {'chunk': found['chunk'], 'detail': found['rest']}
