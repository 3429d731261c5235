"""What was said can be searched, also in transcripts that are there already; what was forgotten is known by a digest;
workers tell what memory they take.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

from dropscribe.store.search import entries
from dropscribe.store.tables import Words

revision = '0007'
down_revision = '0006'

# The words hold nothing of ASCII but letters and digits, and whatever lies outside of ASCII belongs to a word.
FTS5 = """
CREATE VIRTUAL TABLE lines_index USING fts5(words, content='lines', content_rowid='id', tokenize='ascii')
""", """
CREATE TRIGGER lines_inserted AFTER INSERT ON lines BEGIN
  INSERT INTO lines_index(rowid, words) VALUES (new.id, new.words);
END
""", """
CREATE TRIGGER lines_deleted AFTER DELETE ON lines BEGIN
  INSERT INTO lines_index(lines_index, rowid, words) VALUES ('delete', old.id, old.words);
END
"""


def upgrade() -> None:
    lines = op.create_table('lines',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('job_id', sa.String(length=16), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('start', sa.Double(), nullable=False),
    sa.Column('end', sa.Double(), nullable=False),
    sa.Column('speaker', sa.Text(), nullable=False),
    sa.Column('voice', sa.Text(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('words', Words(), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_lines_job_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_lines'))
    )
    op.create_index('ix_lines_job_id', 'lines', ['job_id', 'position'], unique=False)
    if op.get_bind().dialect.name == 'sqlite':
        for statement in FTS5:
            op.execute(statement)
    else:
        op.create_index('ix_lines_words', 'lines', ['words'], unique=False, postgresql_using='gin')
    _index(lines)
    op.create_table('forgotten',
    sa.Column('path_key', sa.String(length=32), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('mtime_ns', sa.BigInteger(), nullable=False),
    sa.Column('at', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('path_key', 'size', 'mtime_ns', name=op.f('pk_forgotten'))
    )
    with op.batch_alter_table('workers', schema=None) as batch_op:
        batch_op.add_column(sa.Column('memory', sa.BigInteger(), nullable=False, server_default='0'))


def _index(lines: sa.Table) -> None:
    connection = op.get_bind()
    transcripts = sa.table('transcripts', sa.column('job_id'), sa.column('document'))
    for job_id in connection.execute(sa.select(transcripts.c.job_id)).scalars().all():
        document = sa.select(transcripts.c.document).where(transcripts.c.job_id == job_id)
        if rows := entries(job_id, connection.execute(document).scalar_one()):
            connection.execute(sa.insert(lines), rows)
