"""What was removed, when and why; and no samples of what was said for PostgreSQL's planner.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = '0024'
down_revision = '0023'

# To set its type anew, to the same one, rewrites nothing and drops the samples that were taken of a column.
SAMPLED = {
    'jobs': {'path': 'TEXT', 'context': 'TEXT', 'reason': 'TEXT', 'moving_to': 'TEXT'},
    'segments': {'text': 'TEXT'},
    'transcripts': {'document': 'TEXT'},
    'lines': {'speaker': 'TEXT', 'voice': 'TEXT', 'text': 'TEXT', 'words': 'TSVECTOR'},
    'outputs': {'path': 'TEXT'},
    'events': {'detail': 'TEXT'},
    'notifications': {'reason': 'TEXT', 'error': 'TEXT'},
}


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('submitted', sa.Boolean(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('text_removed_at', sa.Double(), nullable=True))
    op.create_table(
        'removals',
        sa.Column('day', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('what', sa.String(length=8), nullable=False),
        sa.Column('why', sa.Text(), nullable=False),
        sa.Column('jobs', sa.Integer(), nullable=False),
        sa.Column('at', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('day', 'what', 'why', name=op.f('pk_removals')),
    )
    if op.get_context().dialect.name == 'postgresql':
        for table, columns in SAMPLED.items():
            changes = (f'ALTER COLUMN {name} TYPE {kind}, ALTER COLUMN {name} SET STATISTICS 0' for name, kind in columns.items())
            op.execute(f"ALTER TABLE {table} {', '.join(changes)}")
