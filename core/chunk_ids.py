"""Pure: the id of a chunk, which is that of its job and a number within the job: `k3v9tq2w.4`.

A half has the number of the whole before its own (`k3v9tq2w.4.1`), and a stretch whose voices are embedded an `e`
(`k3v9tq2w.e0`). A message names a row by such an id, or by that of a job.
"""

from __future__ import annotations

LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # of a job's id: without those that are mistaken for one another
LENGTH = 8  # 40 bits; a clash refuses the row, and the next scan admits it under another id


def chunk_id(job_id: str, number: str) -> str:
    """The id of the chunk of that number.

    >>> chunk_id("k3v9", "4")
    'k3v9.4'
    """
    return f"{job_id}.{number}"


def job_of(row: str) -> str:
    """The id of the job that a chunk belongs to, or that the row is.

    >>> job_of("k3v9.4"), job_of("k3v9")
    ('k3v9', 'k3v9')
    """
    return row.partition(".")[0]


def number_of(row: str) -> str:
    """The number of a chunk within its job; empty where the row is a job.

    >>> number_of("k3v9.4"), number_of("k3v9")
    ('4', '')
    """
    return row.partition(".")[2]
