"""Contents are compared within a watched folder: keys of contents get a digest of their root.

Revision ID: 0020
Revises: 0019
"""

import hashlib
import re

import sqlalchemy as sa
from alembic import op

revision = '0020'
down_revision = '0019'

SHIFTED = re.compile("[\U0010dc80-\U0010dcff]")  # how bytes of a path that are not UTF-8 are stored


def upgrade() -> None:
    jobs = sa.table('jobs', sa.column('root', sa.Text()), sa.column('content_key', sa.Text()))
    connection = op.get_bind()
    for root in connection.execute(sa.select(jobs.c.root).distinct()).scalars().all():
        path = SHIFTED.sub(lambda found: chr(ord(found[0]) - 0x100000), root)
        digest = hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:12]
        of_root = (jobs.c.root == root, jobs.c.content_key.is_not(None))
        connection.execute(jobs.update().where(*of_root).values(content_key=jobs.c.content_key + f':{digest}'))
