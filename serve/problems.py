"""Errors: problem+json (RFC 9457) for programs, with the code and the remedy of our error tree; for people, a page."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import RedirectResponse, Response

from dropscribe.core import errors
from dropscribe.core.errors import DropscribeError, InternalError, UsageError
from dropscribe.core.passwords import redact
from dropscribe.serve import rendering

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
OPENAI = "/v1/"  # the beginning of paths whose errors have another shape
CLIENT_IS_GONE = 499
RETRY_SECONDS = "5"  # after which what is out of reach or too much may work

# The status of each kind of error; one that is not listed has that of the kind above it.
STATUSES: Mapping[type[DropscribeError], HTTPStatus] = {
    errors.DropscribeError: HTTPStatus.CONFLICT,
    errors.UsageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.JobNotFoundError: HTTPStatus.NOT_FOUND,
    errors.ModelNotFoundError: HTTPStatus.NOT_FOUND,
    errors.StoreError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.StoreUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BrokerError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NoRoomError: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.SourceError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.SourceMissingError: HTTPStatus.NOT_FOUND,
    errors.RefusedError: HTTPStatus.FORBIDDEN,
    errors.UnknownCallerError: HTTPStatus.UNAUTHORIZED,
    errors.TooManyError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.NameTakenError: HTTPStatus.CONFLICT,
    errors.EditConflictError: HTTPStatus.PRECONDITION_FAILED,
    errors.FolderOfflineError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoppingError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
OF_STORE: Mapping[HTTPStatus, str] = {  # what callers learn of its errors
    HTTPStatus.INTERNAL_SERVER_ERROR: "the store refused",
    HTTPStatus.SERVICE_UNAVAILABLE: "the store is out of reach or locked",
}
HEADERS: Mapping[HTTPStatus, Mapping[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": RETRY_SECONDS},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": RETRY_SECONDS},
}
OPENAI_SCHEMA: Mapping[str, Any] = {
    "title": "OpenAIError",
    "description": "What went wrong, as OpenAI's API says it.",
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": "null"},
                "code": {"type": "string", "description": "the kind of error, as in `docs/cli.md`"},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
SCHEMA: Mapping[str, Any] = {
    "title": "Problem",
    "description": "What went wrong, and what to do next.",
    "type": "object",
    "properties": {
        "title": {"type": "string", "description": "what the status means"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong, as a sentence"},
        "code": {"type": "string", "description": "the kind of error, as in `docs/cli.md`"},
        "remedy": {"type": "string", "description": "what to do; may be empty"},
    },
    "required": ["title", "status", "detail", "code", "remedy"],
}


def status_of(error: DropscribeError) -> HTTPStatus:
    """The status of the error's own kind, or of the nearest kind above it."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def answer(asked: HTTPConnection, error: DropscribeError, status: HTTPStatus | None = None) -> Response:
    """The error as a response, with the status of its kind unless another is named.

    What the store says may name hosts, accounts and statements; it goes to the log. A person whom the server does not
    know is led to the page that asks who they are.
    """
    is_page = rendering.is_page(asked)
    if is_page and isinstance(error, errors.UnknownCallerError):
        return RedirectResponse(rendering.sign_in_address(asked), HTTPStatus.SEE_OTHER)
    document = told(error, status)
    found = HTTPStatus(document["status"])
    if is_page:
        caller = asked.scope.get("state", {}).get("caller")
        shown = rendering.page(caller, "problem.html", status=found, problem=document)
        shown.headers.update(HEADERS.get(found, {}))
        return shown
    if asked.scope["path"].startswith(OPENAI):
        found = HTTPStatus.BAD_REQUEST if found is HTTPStatus.UNPROCESSABLE_ENTITY else found
        return Response(json.dumps(in_openais_shape(document)), found, HEADERS.get(found), "application/json")
    return Response(json.dumps(document), found, HEADERS.get(found), MEDIA_TYPE)


def told(error: DropscribeError, status: HTTPStatus | None = None) -> dict[str, Any]:
    """The error as a document, with the status of its kind unless another is named."""
    found = status or status_of(error)
    detail, remedy = error.problem, error.remedy
    if isinstance(error, errors.StoreError):
        log.warning("%s", error)
        detail, remedy = OF_STORE[found], "see the log of the server"
    return {
        "title": found.phrase,
        "status": found.value,
        "detail": redact(detail),
        "code": error.code,
        "remedy": redact(remedy),
    }


def in_openais_shape(document: Mapping[str, Any]) -> dict[str, Any]:
    """A problem as clients of OpenAI's API expect it."""
    kind = "server_error" if document["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    message = "; ".join(filter(None, (document["detail"], document["remedy"])))
    return {"error": {"message": message, "type": kind, "param": None, "code": document["code"]}}


def install(app: FastAPI) -> None:
    """Have the app answer every error so."""
    app.add_exception_handler(DropscribeError, _ours)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(ClientDisconnect, _nobody)
    app.add_exception_handler(Exception, _unexpected)


def _ours(request: Request, error: Exception) -> Response:
    """The answer to an error of ours; to any other, that of a defect."""
    return answer(request, error if isinstance(error, DropscribeError) else InternalError(str(error)))


def _unfit(request: Request, error: Exception) -> Response:
    """The answer to a request that does not fit its description."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    said = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in found)
    return answer(request, UsageError(said, remedy="see docs/api.md"))


def _of_framework(request: Request, error: Exception) -> Response:
    """No such path, no such method there, or an error of ours that came while a body was read."""
    if isinstance(error.__cause__, DropscribeError):
        return answer(request, error.__cause__)
    status = HTTPStatus(error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR)
    said = UsageError(status.description or status.phrase, remedy="see docs/api.md")
    found = answer(request, said, status)
    found.headers.update(getattr(error, "headers", None) or {})
    return found


def _nobody(_request: Request, _error: Exception) -> Response:
    """The answer to a client that went away before it had sent or heard all: none reads it."""
    return Response(status_code=CLIENT_IS_GONE)


def _unexpected(request: Request, error: Exception) -> Response:
    """A defect of ours; the server's log has its traceback."""
    return answer(request, InternalError(type(error).__name__, remedy="see the log of the server"))
