"""Signing in with a token, and out again; what pages load, which is nobody's secret."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Header, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from dropscribe.serve import rendering
from dropscribe.serve.sessions import COOKIE, SECONDS, Sessions

HOME = "/recordings"

router = APIRouter(include_in_schema=False)


@router.get("/")
def begin() -> Response:
    """The first page."""
    return RedirectResponse(HOME, HTTPStatus.SEE_OTHER)


@router.get(f"{rendering.STATIC}{{name}}")
def static(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    """What pages load. Raises HTTPException where there is no such file."""
    try:
        return rendering.asset(name, if_none_match)
    except KeyError as error:
        raise HTTPException(HTTPStatus.NOT_FOUND) from error


@router.get(rendering.SIGN_IN)
def ask(next: str = HOME) -> Response:  # noqa: A002  (the name in the address)
    """A page that asks for a token."""
    return rendering.page(None, "sign_in.html", next=next, is_wrong=False)


@router.post(rendering.SIGN_IN)
async def sign_in(request: Request) -> Response:
    """Begin a session for the bearer of a token; the page asks again where it does not hold."""
    said = parse_qs((await request.body()).decode(errors="replace"))
    wanted = said.get("next", [HOME])[0]
    sessions: Sessions = request.app.state.sessions
    cookie = await run_in_threadpool(sessions.begin, said.get("token", [""])[0].strip())
    if cookie is None:
        return rendering.page(None, "sign_in.html", status=HTTPStatus.UNAUTHORIZED, next=wanted, is_wrong=True)
    answered = RedirectResponse(_ours(wanted), HTTPStatus.SEE_OTHER)
    answered.set_cookie(
        COOKIE,
        cookie,
        max_age=SECONDS,
        secure=request.headers.get("x-forwarded-proto") == "https",  # a lie there only makes the cookie useless
        httponly=True,
        samesite="strict",
    )
    return answered


@router.post("/sign-out")
def sign_out() -> Response:
    """End the session in this browser."""
    answered = RedirectResponse(rendering.SIGN_IN, HTTPStatus.SEE_OTHER)
    answered.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answered


def _ours(address: str) -> str:
    r"""The address if it is one of this server's pages; else the first page.

    >>> _ours("/recordings/k3v9x2ab?at=5"), _ours("//evil.example"), _ours("/\\evil.example"), _ours("https://x")
    ('/recordings/k3v9x2ab?at=5', '/recordings', '/recordings', '/recordings')
    """
    is_here = address.startswith("/") and address[1:2] not in {"/", "\\"} and address.isprintable()
    return address if is_here else HOME
