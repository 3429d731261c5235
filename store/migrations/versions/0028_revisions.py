"""What people corrected in transcripts, revision by revision.

Revision ID: 0028
Revises: 0027
"""

import sqlalchemy as sa
from alembic import op

revision = '0028'
down_revision = '0027'

NO_SAMPLES = ('who', 'edits', 'speakers', 'document')


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('revision', sa.Integer(), server_default='0', nullable=False))
    op.create_table(
        'revisions',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
        sa.Column('job_id', sa.String(length=16), nullable=False),
        sa.Column('number', sa.Integer(), nullable=False),
        sa.Column('at', sa.Double(), nullable=False),
        sa.Column('who', sa.Text(), nullable=False),
        sa.Column('edits', sa.JSON(), server_default='[]', nullable=False),
        sa.Column('back_to', sa.Integer(), nullable=True),
        sa.Column('speakers', sa.JSON(), server_default='{}', nullable=False),
        sa.Column('document', sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_revisions_job_id'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_revisions')),
    )
    op.create_index('ix_revisions_job_id', 'revisions', ['job_id', 'number'], unique=True)
    if op.get_context().dialect.name == 'postgresql':
        changes = ', '.join(f'ALTER COLUMN {name} SET STATISTICS 0' for name in NO_SAMPLES)
        op.execute(f'ALTER TABLE revisions {changes}')
