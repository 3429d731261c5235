"""Further files of recordings in parts, and the files that wait for some.

Revision ID: 0029
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = '0029'
down_revision = '0028'


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('part_count', sa.Integer(), server_default='0', nullable=False))
    with op.batch_alter_table('roots', schema=None) as batch_op:
        batch_op.add_column(sa.Column('parts', sa.JSON(), server_default='[]', nullable=False))
    op.create_table(
        'parts',
        sa.Column('job_id', sa.String(length=16), nullable=False),
        sa.Column('position', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('path', sa.Text(), nullable=False),
        sa.Column('path_key', sa.String(length=32), nullable=False),
        sa.Column('size', sa.BigInteger(), nullable=False),
        sa.Column('mtime_ns', sa.BigInteger(), nullable=False),
        sa.Column('fingerprint', sa.String(length=32), server_default='', nullable=False),
        sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_parts_job_id'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('job_id', 'position', name=op.f('pk_parts')),
    )
    with op.batch_alter_table('parts', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_parts_path_key'), ['path_key'], unique=False)
    if op.get_context().dialect.name == 'postgresql':
        op.execute('ALTER TABLE parts ALTER COLUMN path SET STATISTICS 0')
