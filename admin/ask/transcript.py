"""`dropscribe transcript`: one transcript, printed or written to a file."""

from __future__ import annotations

import sys
from pathlib import Path

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.state.transcript_documents import document_of, in_format
from dropscribe.core.errors import DropscribeError, UsageError
from dropscribe.core.types import JobState
from dropscribe.store import queries


def transcript(context: Context, name: str, fmt: str, output: Path | None = None) -> None:
    """Print a job's transcript or write it to `output`; the JSON document as it is stored, other formats made from it.

    Raises DropscribeError when there is none, or when a format other than text would reach a terminal.
    """
    from dropscribe.worker import outputs
    from dropscribe.worker.finishing import placement
    from dropscribe.worker.finishing.destination import of_copy

    if fmt in outputs.BINARY and not output and sys.stdout.isatty():
        raise UsageError(f"{fmt} is not for a terminal", remedy="write it to a file with --output")
    job = queries.job(context.database, find(context.database, name))
    document = document_of(context.database, job)
    if job.state == JobState.SUSPECT:
        context.remark("suspect", job.reason, "yellow")
    if not output:
        _print(in_format(job, document, fmt, None))
        return
    target = output.expanduser().absolute()
    content = in_format(job, document, fmt, target.parent)
    if placement.digest(target) is not None:
        raise DropscribeError(f"{target} exists already", remedy="remove it, or choose another name")
    readers, doubt = of_copy(target, job).readers, context.doubt_of(target)
    placement.write(target, content, job.id, readers, replaces=False, doubt=doubt)


def _print(content: bytes) -> None:
    """Write bytes to standard output, behind all that was printed before."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
