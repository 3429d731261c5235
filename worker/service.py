"""A worker process from start to stop: the composition root of the tasks.

One process for each role. The CPU worker's threads wait for child processes that decode; the model worker has as
many threads as its model reads chunks at once.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning

from dropscribe.core import gpus, logs, metrics, sandbox, start_up
from dropscribe.core.errors import StoreError, UsageError
from dropscribe.core.gpus import Gpu
from dropscribe.core.orders import Orders
from dropscribe.core.queue import Doorbell, make_app
from dropscribe.core.routing import CPU_QUEUE, EMBED
from dropscribe.core.settings import Settings
from dropscribe.store import fleet, queries, recovery
from dropscribe.store.fleet import DRAINING
from dropscribe.store.leases import ChunkClaim, JobClaim
from dropscribe.store.session import Database, open_database
from dropscribe.worker import tasks
from dropscribe.worker.runtime import gpu, spool
from dropscribe.worker.runtime.context import CircuitBreaker, WorkerContext
from dropscribe.worker.runtime.counters import Counters
from dropscribe.worker.runtime.encoder_loader import EncoderLoader
from dropscribe.worker.runtime.failures import FATAL_EXIT
from dropscribe.worker.runtime.lease import LeaseKeeper
from dropscribe.worker.runtime.metrics import WorkerCollector
from dropscribe.worker.runtime.pool import WakingPool

if TYPE_CHECKING:
    from dropscribe.core.zygote import Zygote
    from dropscribe.models.base import Transcriber, VoiceEncoder
    from dropscribe.models.gpu.placement import Placement

log = logging.getLogger(__name__)

ROLES = ("cpu", "model")
OTHER_VERSION_EXIT = 1  # so that the supervisor starts it again, by then perhaps in that version
MAX_CPU_THREADS = 4  # decoding is bound by the disk before that


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker process is: its name in the store, its role, the GPU that it is pinned to, if it is."""

    name: str
    role: str
    pinned: Gpu | None = None

    @property
    def gpu(self) -> str:
        """The UUID of that GPU."""
        return self.pinned.uuid if self.pinned else ""


@dataclass
class Ending:
    """Why a worker process ends, where no signal asked it to.

    `drained` is to end when what it does is done; `status` is the exit status if all goes well.
    """

    drained: bool = False
    status: int = 0


def run(settings: Settings, role: str, *, which_gpu: str | None = None, name: str | None = None) -> int:
    """Work until SIGTERM or SIGINT; returns the exit status.

    Raises UsageError, SandboxError, StoreError, ModelUnavailableError before anything is consumed.
    """
    if role not in ROLES:
        raise UsageError(f"unknown role {role}", remedy=f"one of {', '.join(ROLES)}")
    sandbox.hide()
    os.environ.update(gpus.device_order())  # before CUDA is loaded: what is measured is to be what computes
    if role == "cpu":
        sandbox.check(settings.sandbox)
        from dropscribe.worker.preparing import vad  # a model worker needs neither it nor PyAV

        vad.load(settings.speech_detector)  # else the first recording would tell what is not installed
    named = name or f"{socket.gethostname()}-{role}-{secrets.token_hex(3)}"  # which no other worker has
    logs.configure(settings, named)
    threading.excepthook = _end_with_thread
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until Celery has its own: loading a model takes minutes
    identity = Identity(named, role, gpu.pin(which_gpu) if which_gpu else None)
    if role == "model":
        settings = _with_choice(settings)
    database = open_database(settings.database, where=identity.name)
    try:
        return _work(settings, database, identity)
    finally:
        database.close()


def _with_choice(settings: Settings) -> Settings:
    """With the engine and the checkpoint that they mean here: chosen once, and said in a sentence."""
    from dropscribe.models import registry  # a CPU worker needs no engine

    chosen = registry.choose(settings)
    log.info("%s: %s", chosen.spec.name, chosen.sentence)
    return settings.model_copy(update={"engine": chosen.spec.name, "model": chosen.model})


def _work(settings: Settings, database: Database, identity: Identity) -> int:
    """Work as a process whose metrics are served; the exit status."""
    tally = Counters()
    told = WorkerCollector(identity.name, identity.role, identity.gpu, tally)
    with metrics.served(settings, told) as url:
        fleet.register(
            database,
            identity.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            role=identity.role,
            state="loading",
            gpu=identity.gpu,
            metrics=url,
        )
        return _registered(settings, database, identity, told)


def _registered(settings: Settings, database: Database, identity: Identity, told: WorkerCollector) -> int:
    """Work as a process that the store knows, from loading the model to the last lease; the exit status."""
    tally, ending = told.tally, Ending()
    keeper = _keeper(settings, database, identity, tally, ending)
    keeper.start()  # before the model is loaded, which may take minutes in which the worker is to be seen alive
    app = make_app(settings)
    model, is_model = None, identity.role == "model"
    zygote = None if is_model else _zygote()
    try:
        model = _load_model(settings, told, _placement(settings, database, identity)) if is_model else None
        fitness = CircuitBreaker(settings.circuit_breaker_failures)
        doorbell = Doorbell(settings, app)
        encoder = EncoderLoader(speaker_encoder, ready=lambda: _ring_for_stretches(context))
        context = WorkerContext(
            settings=settings,
            database=database,
            doorbell=doorbell,
            keeper=keeper,
            owner=identity.name,
            model=model,
            tally=tally,
            fitness=fitness,
            die=_die,
            encoder=encoder,
            called=settings.model,
            zygote=zygote,
        )
        tasks.register(app, context, tasks.of_role(identity.role))
        if identity.role == "cpu" and settings.embeds_voices:
            encoder.start()  # while the first recordings are prepared
        told.slots = _threads(context)
        return _consume(app, context, identity, ending)
    finally:
        # Leases are renewed to the last task's end, and only then is the worker struck off.
        keeper.end()
        if model:
            model.close()
        if zygote:
            zygote.close()
        _leave(database, identity.name, tally)


def _zygote() -> Zygote | None:
    """What forks processes that decode, if this machine can have it."""
    from dropscribe.worker.preparing import decode  # a model worker needs no decoder

    return decode.new_zygote()


def speaker_encoder() -> VoiceEncoder:
    """The speaker encoder, its weights fetched first where they are not here. Raises ModelUnavailableError."""
    from dropscribe.models.speakers import (
        encoder,
    )  # only CPU workers need it, and only where speakers are distinguished

    return encoder.load(_log_step)


def _log_step(step: str, done: int, total: int) -> None:
    """Log each step of a download once, at its beginning."""
    if not done:
        log.info("%s%s", step, f" ({total / 1e6:.0f} MB)" if total else "")


def _ring_for_stretches(context: WorkerContext) -> None:
    """Send for what waited until the speaker encoder was there."""
    try:
        context.ring(EMBED, queries.queued_stretches(context.database))
    except StoreError as error:
        log.warning("stretches that wait are left to the reconciler: %s", error)


def _leave(database: Database, name: str, tally: Counters) -> None:
    """A store that is away is not waited for: what this worker still has comes back when its leases end."""
    audio, busy = tally.take()
    try:
        fleet.heartbeat(database, name, audio=audio, busy=busy)  # the model's speed is kept for the next worker
        recovery.release_all(database, name)
        fleet.leave(database, name)
    except StoreError as error:
        log.warning("stopped, but could not deregister from the database: %s", error)


def _keeper(settings: Settings, database: Database, identity: Identity, tally: Counters, ending: Ending) -> LeaseKeeper:
    """What renews the leases of this worker, and beats for it."""

    def beat() -> None:
        """Say that this process lives, and do what has to be done from time to time."""
        audio, busy = tally.take()
        state = fleet.heartbeat(database, identity.name, audio=audio, busy=busy, memory=_memory())
        if state == DRAINING and not ending.drained:
            log.info("draining: this worker ends when its work is done")
            ending.drained = True
            os.kill(os.getpid(), signal.SIGTERM)
        if not database.is_current():
            log.critical("the tables now have another version, so this worker stops; install that version")
            ending.status = OTHER_VERSION_EXIT
            os.kill(os.getpid(), signal.SIGTERM)
        if identity.role == "cpu":
            spool.sweep(settings, database)
            spool.has_room(settings, database)

    def hung(claim: JobClaim | ChunkClaim) -> None:
        """End the process: the model has made no progress for too long."""
        # The lease is left to run out: a recording on which the model hangs counts as one that killed its worker.
        log.critical("%s: no progress for %.0f s; this worker starts again", claim.id, settings.stall_seconds)
        _die(FATAL_EXIT)

    return LeaseKeeper(
        database,
        lease=settings.lease_seconds,
        renew=settings.renew_seconds,
        beat=beat,
        stall=settings.stall_seconds,
        hung=hung,
    )


def _memory() -> int:
    """Bytes of this machine's memory that the process takes, by proc(5)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _placement(settings: Settings, database: Database, identity: Identity) -> Placement:
    """Where the model is to compute, and how many model workers of this host compute on the CPU, with this one."""
    from dropscribe.models.gpu.placement import Placement  # a CPU worker needs no engine

    host = socket.gethostname()
    sharing = [one for one in fleet.list_workers(database) if (one.host, one.role, one.gpu) == (host, "model", "")]
    return Placement(identity.pinned, sum(one.is_alive(settings.silence_seconds) for one in sharing))


def _load_model(settings: Settings, told: WorkerCollector, placement: Placement) -> Transcriber:
    """The model, loaded and warmed up, and what the metrics say of it. Raises ModelUnavailableError."""
    from dropscribe.models import registry  # a CPU worker needs no engine

    began = time.monotonic()
    model = registry.create(settings.engine, settings, placement)
    told.engine, told.load_seconds = model.info, time.monotonic() - began
    if model.info.notice:
        log.warning("%s", model.info.notice)
    return model


def _consume(app: Celery, context: WorkerContext, identity: Identity, ending: Ending) -> int:
    """Take tasks from the queues until the process is to end; the exit status."""

    def ready(**_: Any) -> None:
        """Celery consumes now: the store may know it."""
        engine = context.model.info if context.model else None
        fleet.heartbeat(context.database, identity.name, state="ready", engine=engine, called=context.called)
        context.goes_on.set()
        log.info("%s is ready", identity.name)

    def stop(_: int) -> None:
        """The process is to end: what runs gives its work back, unless the worker is drained."""
        # Celery consumes nothing more and waits for running tasks. They give their work back instead of keeping the
        # machine waiting, unless the worker is drained; a signal that comes then is an order to stop all the same.
        if not (ending.drained and context.goes_on.is_set()):
            log.info("stopping")
            context.keeper.shut_down()
        context.goes_on.clear()

    def shutting_down(**_: Any) -> None:
        """Celery's handler of signals calls it, which a further signal may interrupt."""
        orders.give(signal.SIGTERM)

    signals.worker_ready.connect(ready)
    signals.worker_shutting_down.connect(shutting_down)
    let_signals_nest()
    # It warns root of pickles that could come through Redis; `dropscribe.core.queue` accepts JSON alone.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    with start_up.without_collection():
        worker = app.Worker(
            hostname=identity.name,
            queues=context.resident.queues if context.model else [CPU_QUEUE],
            pool=WakingPool,
            concurrency=_threads(context),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
    with Orders(stop) as orders:
        worker.start()
    return int(worker.exitcode or 0) or ending.status


def let_signals_nest() -> None:
    """Let Celery be asked to stop while it handles that it was: else the second handler waits for the first's lock."""
    signals.worker_shutting_down.lock = threading.RLock()


def _threads(context: WorkerContext) -> int:
    """How many tasks run at once."""
    if context.model:
        return context.model.info.slots
    return context.settings.cpu_slots or min(os.cpu_count() or 1, MAX_CPU_THREADS)


def _end_with_thread(ended: threading.ExceptHookArgs) -> None:
    """A worker without the thread that renews its leases, or its model's, would work for nothing: it starts again."""
    exception = (ended.exc_type, ended.exc_value or ended.exc_type(), ended.exc_traceback)
    log.critical("%s ended because of a bug, and so does this worker", ended.thread, exc_info=exception)
    _die(FATAL_EXIT)


def _die(status: int) -> None:
    """End the process at once, whatever its threads do."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)
