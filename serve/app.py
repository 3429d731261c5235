"""The app: every route behind the gate, errors as problems, and the schema that docs/openapi.json keeps."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry

from dropscribe.admin.context import Context
from dropscribe.core.types import TokenRole
from dropscribe.scheduler.duties.metrics import StoreCollector
from dropscribe.serve import corrections, event_stream, overview, problems, recordings, sessions
from dropscribe.serve.callers import Caller
from dropscribe.serve.gate import Gate
from dropscribe.serve.pages import fleet_page, recording_list, recording_page, search_page, sign_in
from dropscribe.serve.protocols import openai_routes, whisper_asr
from dropscribe.serve.proxies import TrustedProxies
from dropscribe.serve.request_limits import RequestLimits
from dropscribe.serve.sessions import Sessions
from dropscribe.serve.share_threads import ShareThreads
from dropscribe.serve.shared_events import SharedEvents
from dropscribe.serve.shared_outlooks import SharedOutlooks
from dropscribe.serve.shared_speakers import SharedSpeakers
from dropscribe.serve.shared_transcripts import SharedTranscripts
from dropscribe.store import tokens
from dropscribe.store.tokens import Token

PREFIX = "/api/v1"
REQUESTS_DIGITS = 16  # of the digest that a token's folder of requests is called by
PROBLEM = {
    "description": "What went wrong, and what to do next.",
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
OPENAI_ERROR = {
    "description": "What went wrong.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}},
}


def bare(stopping: threading.Event | None = None) -> FastAPI:
    """The routes without a store behind them, for the schema; `stopping` ends streams when the server stops."""
    app = FastAPI(
        title="dropscribe",
        version="1",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # its page would load scripts from another address
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.stopping = stopping or threading.Event()
    token = Depends(HTTPBearer(auto_error=False, description="`dropscribe token create` makes one."))
    for router in (recordings.router, corrections.router, overview.router, event_stream.router):
        app.include_router(router, prefix=PREFIX, dependencies=[token])
    for protocol in (openai_routes.router, whisper_asr.router):
        app.include_router(protocol, dependencies=[token])
    for pages in (sign_in, recording_list, recording_page, search_page, fleet_page):
        app.include_router(pages.router)
    problems.install(app)
    return app


def schema(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, with our errors instead of its own."""
    found: dict[str, Any] = get_openapi(title="dropscribe", version="1", routes=app.routes)
    parts = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        parts.pop(name, None)
    parts["Problem"], parts["OpenAIError"] = problems.SCHEMA, problems.OPENAI_SCHEMA
    for path, operation in _operations(found):
        operation["responses"].pop("422", None)
        operation["responses"]["default"] = OPENAI_ERROR if path.startswith(problems.OPENAI) else PROBLEM
    return found


def _operations(document: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The operations of an OpenAPI document, each with its path."""
    return ((path, operation) for path, found in document["paths"].items() for operation in found.values())


def make(context: Context, stopping: threading.Event | None = None) -> Gate:
    """The app with its store and settings, behind the gate."""
    app = bare(stopping)
    app.openapi_schema = schema(app)
    settings = context.settings
    app.state.context = context
    app.state.outlooks = SharedOutlooks(context.database, settings.silence_seconds)
    app.state.speakers = SharedSpeakers(context.database)
    app.state.transcripts = SharedTranscripts(context.database)
    app.state.happenings = SharedEvents(context.database)
    app.state.limits = RequestLimits(settings.serve_requests)
    app.state.shares = ShareThreads()
    app.state.metrics = CollectorRegistry()
    app.state.metrics.register(StoreCollector(context.database, settings))

    caller_of = partial(_caller, settings.requests_dir)
    of_secret = partial(tokens.of_secret, context.database)
    by_cookie = Sessions(
        cache(partial(sessions.key_in, settings.home)), of_secret, partial(tokens.of_name, context.database)
    )
    app.state.sessions = by_cookie
    return Gate(
        app,
        find=lambda secret: caller_of(of_secret(secret)),
        find_session=lambda cookie: caller_of(by_cookie.token(cookie)),
        names=settings.serve_names,
        limits=app.state.limits,
        trusts_own_user=settings.serve_trust_own_user,
        proxies=TrustedProxies(settings.serve_proxies, settings.serve_user_header),
        find_user=lambda user: caller_of(_of_user(context, user)),
    )


def _of_user(context: Context, user: str) -> Token | None:
    """What a user may do whom a proxy names: as the token of that name, else as `serve_user_role` says."""
    role = context.settings.serve_user_role
    found = tokens.of_name(context.database, user) if user else None
    return found or (Token(user, TokenRole(role), ()) if user and role else None)


def _caller(requests: Path, token: Token | None) -> Caller | None:
    """Who has this token; None where nobody has.

    One that is limited to folders sees besides what it sent by the protocols of others, which lies below `requests`.
    """
    if token is None:
        return None
    own = hashlib.sha256(f"{token.name} {token.created_at!r}".encode()).hexdigest()[:REQUESTS_DIGITS]
    folders = (*token.folders, str(requests / own)) if token.folders else None
    return Caller(token.name, token.role, folders, own)
