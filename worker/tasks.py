"""The Celery tasks of a role. A message only says which row to look at; the row decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from celery import Celery

from dropscribe.core import chunk_ids, logs, start_up
from dropscribe.core.errors import DropscribeError, LeaseLostError
from dropscribe.worker.runtime.context import WorkerContext

log = logging.getLogger(__name__)

Task = Callable[[WorkerContext, str], None]  # is given the id of a job or of a chunk


def of_role(role: str) -> Mapping[str, Task]:
    """The tasks of a role by name. Only its modules are imported: those of the other would slow its start down."""
    with start_up.without_collection():
        if role == "model":
            from dropscribe.worker import model_tasks

            return model_tasks.TASKS
        from dropscribe.worker import cpu_tasks

        return cpu_tasks.TASKS


def register(app: Celery, context: WorkerContext, tasks: Mapping[str, Task]) -> None:
    """Make the tasks known to the app."""
    for name, task in tasks.items():
        app.task(_run(context, task), name=name)


def _run(context: WorkerContext, task: Task) -> Callable[[str], None]:
    """A task as Celery calls it, with the id of a row."""

    def run(row: str) -> None:
        """One message: do the task for a row; what is out of reach leaves it to the end of its lease."""
        with logs.about(job=chunk_ids.job_of(row), chunk=chunk_ids.number_of(row)):
            try:
                task(context, row)
            except LeaseLostError as error:
                log.warning("%s", error)
            except DropscribeError as error:  # the store is out of reach: the lease runs out and the work comes back
                log.warning("left to its lease: %s", error)

    return run
