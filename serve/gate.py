"""What every request passes before any route: from where it comes, who asks, and how often.

An attacker's page in the operator's browser asks from the operator's own machine and user. So the name by which the
server is asked must be one that no stranger can point here, and no other site's page may ask at all.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

import anyio
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from dropscribe.core.errors import DropscribeError, ForbiddenError, TooLargeError, UnknownCallerError
from dropscribe.serve import peers, problems, rendering
from dropscribe.serve.callers import OPERATOR, Caller
from dropscribe.serve.proxies import TrustedProxies
from dropscribe.serve.request_limits import RequestLimits
from dropscribe.serve.sessions import COOKIE

# The first two keep a page from running or framing what is served, the third a browser from guessing what it is.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
FORWARDED = ("forwarded", "x-forwarded-", "x-real-ip", "via")  # beginnings of what proxies add, if they add anything
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing
OURS = frozenset({"same-origin", "none"})  # what browsers say of a request that no other site's page makes
BODY_BYTES = 65_536  # of a request other than an upload or corrections
CORRECTIONS_BYTES = 1 << 20  # of corrections: as many edits as one revision has, of segments of some length
# Where a body may be long: its route bounds it.
UPLOADS = frozenset(
    {"/api/v1/recordings", "/v1/audio/transcriptions", "/v1/audio/translations", "/asr", "/detect-language"}
)
BY_PASSWORD = frozenset({"/asr", "/detect-language"})  # whose clients can send no token
CONNECTION = "connection"  # under which a request's state holds the socket that it came by

SILENT_SECONDS = 60.0  # in which some of a request's body comes, or the connection ends
NO_PROXIES = TrustedProxies((), "")

FindCaller = Callable[[str], Caller | None]  # who shows this secret


class Gate:
    """Lets requests through to the app, with the `caller` in their state; refuses all others."""

    def __init__(
        self,
        app: FastAPI,
        *,
        find: FindCaller,
        find_session: FindCaller,
        names: Collection[str],
        limits: RequestLimits,
        trusts_own_user: bool = True,
        proxies: TrustedProxies = NO_PROXIES,
        find_user: FindCaller = lambda _user: None,
    ) -> None:
        """`find` knows tokens, `find_session` cookies of those who signed in, `find_user` those whom `proxies` name.

        `names` are those that the server may be reached by, besides `localhost` and addresses.

        Where there are any, a proxy may stand before it, and everybody needs a token; also without `trusts_own_user`.
        """
        self.app = app
        self._find = find
        self._find_session = find_session
        self._names = {"localhost", *(name.casefold() for name in names)}
        self._limits = limits
        self._trusts_own_user = trusts_own_user and not names
        self._proxies, self._find_user = proxies, find_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI asks for it."""
        if scope["type"] != "http":  # of websockets there are none, so that no route takes one
            await self.app(scope, receive, send)
            return
        guarded = _with_headers(send)
        try:
            asked = HTTPConnection(scope)
            self._check_host(asked.headers.get("host", ""))
            if not _is_ours(asked):
                if not rendering.is_visit(asked):
                    raise ForbiddenError(
                        "a page of another site sent this request", remedy="use a program with a token"
                    )
                await rendering.page(None, "passing.html")(scope, receive, guarded)
                return
            if not _is_for_all(scope["path"]):
                await run_in_threadpool(self._let_in, asked)
        except DropscribeError as error:
            await problems.answer(asked, error)(scope, receive, guarded)
            return
        is_upload = scope["method"] == "POST" and scope["path"] in UPLOADS
        heard = _patient(receive)
        corrects = scope["path"].startswith("/api/v1/recordings/") and scope["path"].endswith("/revisions")
        limit = CORRECTIONS_BYTES if corrects else BODY_BYTES
        await self.app(scope, heard if is_upload else _bounded(heard, limit), guarded)

    def _check_host(self, host: str) -> None:
        """An address, or a name of ours: any other name may be a stranger's, pointed here. Raises ForbiddenError."""
        name = _host_of(f"//{host}")[0].casefold()
        if name not in self._names and not _is_address(name):
            raise ForbiddenError(
                "the request names the server by an unknown name",
                remedy="add it to the setting serve_names, or use an address",
            )

    def _let_in(self, asked: HTTPConnection) -> None:
        """Note who asks in the state of the request. Raises RefusedError."""
        caller = self._who(asked)
        self._limits.take(caller)
        state = asked.scope.setdefault("state", {})
        state["caller"] = caller
        state["holds"] = partial(self._holds, asked, caller)

    def _holds(self, asked: HTTPConnection, caller: Caller) -> bool:
        """Has what the caller showed not been revoked since? The operator showed nothing."""
        return caller.is_operator or self._shown(asked) == caller

    def _shown(self, asked: HTTPConnection) -> Caller | None:
        """Who asks, by token, proxy or cookie. Raises ForbiddenError as `_check_change`."""
        secret = _secret_of(asked)
        if secret is not None:
            return self._find(secret) if secret else None
        user = self._proxies.user_of(asked)
        caller = self._find_session(asked.cookies.get(COOKIE, "")) if user is None else self._find_user(user)
        if caller:
            _check_change(asked)
        return caller

    def _who(self, asked: HTTPConnection) -> Caller:
        """Raises UnknownCallerError, ForbiddenError."""
        secret = _secret_of(asked)
        caller = self._shown(asked)
        if caller is None and secret is None and self._is_operators(asked):
            caller = OPERATOR
        if caller is None:
            raise UnknownCallerError(
                "the request has no token" if secret is None else "the token is not valid",
                remedy="send `Authorization: Bearer TOKEN`; `dropscribe token create` makes one",
            )
        return caller

    def _is_operators(self, asked: HTTPConnection) -> bool:
        """Does a process of this server's own user ask, on this machine and for itself?"""
        is_passed_on = self._proxies.is_one(asked) or self._proxies.names_somebody(asked)
        return self._trusts_own_user and not is_passed_on and _is_own_process(asked)


def _secret_of(asked: HTTPConnection) -> str | None:
    """The token that a request shows: None where it shows nothing, empty for anything but a token.

    Programs that know addresses alone send it as a password, as of `http://any:TOKEN@host`; where others can send a
    token, nobody's password is taken.
    """
    scheme, _, shown = asked.headers.get("authorization", "").partition(" ")
    if not shown.strip():
        return None
    match scheme.casefold():
        case "bearer":
            return shown.strip()
        case "basic" if asked.scope["path"] in BY_PASSWORD:
            return _password(shown)
    return ""


def _password(shown: str) -> str:
    """The password of basic authentication (RFC 7617); empty where there is none.

    >>> _password("YmF6YXJyOmRzX3g=")
    'ds_x'
    """
    with suppress(ValueError):
        return base64.b64decode(shown, validate=True).decode().partition(":")[2]
    return ""


def _is_own_process(asked: HTTPConnection) -> bool:
    """Does a process of this server's own user ask, on this machine and for itself?"""
    connection = asked.scope.get("state", {}).get(CONNECTION)
    if connection is None or any(name.startswith(FORWARDED) for name in asked.headers):
        return False
    return peers.uid_of(connection) == os.geteuid()


def _is_for_all(path: str) -> bool:
    """Is it shown to everybody, so that they can say who they are?"""
    return path == rendering.SIGN_IN or path.startswith(rendering.STATIC)


def _is_ours(asked: HTTPConnection) -> bool:
    """Does a program ask, a page of this server, or a person who typed the address?"""
    origin, site = asked.headers.get("origin"), asked.headers.get("sec-fetch-site", "none")
    return site in OURS and (origin is None or _host_of(origin)[1] == asked.headers.get("host"))


def _check_change(asked: HTTPConnection) -> None:
    """Raise ForbiddenError for a change by a cookie that no page of ours is known to make.

    A browser sends a cookie with whatever asks; only it can say who asked, and every browser of today does.
    """
    says = asked.headers.get("origin") is not None or asked.headers.get("sec-fetch-site") == "same-origin"
    if asked.scope["method"] not in SAFE and not says:
        raise ForbiddenError(
            "the browser does not say which page sent this request", remedy="use a program with a token"
        )


def _host_of(address: str) -> tuple[str, str]:
    """The host in an address, without and with its port; empty where there is none.

    >>> _host_of("http://Example.org:80/page"), _host_of("http://[")
    (('example.org', 'Example.org:80'), ('', ''))
    """
    with suppress(ValueError):
        parts = urlsplit(address)
        return parts.hostname or "", parts.netloc
    return "", ""


def _is_address(name: str) -> bool:
    """Is it a number, and no name?

    >>> _is_address("127.0.0.1"), _is_address("localhost")
    (True, False)
    """
    with suppress(ValueError):
        ip_address(name)
        return True
    return False


def _with_headers(send: Send) -> Send:
    """What sends an answer with the headers that all answers have."""

    async def guarded(message: Message) -> None:
        """Add the headers to the beginning of an answer."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return guarded


def _patient(receive: Receive) -> Receive:
    """Its messages; a client that falls silent in the middle of a body counts as gone."""
    whole = False

    async def patient() -> Message:
        """The next piece of a request, or what comes after it."""
        nonlocal whole
        if whole:
            return await receive()
        with anyio.move_on_after(SILENT_SECONDS):
            message = await receive()
            whole = not message.get("more_body", False)
            return message
        whole = True
        return {"type": "http.disconnect"}

    return patient


def _bounded(receive: Receive, limit: int) -> Receive:
    """Its messages, up to as many bytes."""
    taken = 0

    async def bounded() -> Message:
        """The next piece of a request, as long as that is not too long."""
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise TooLargeError(f"a request has at most {limit} bytes", remedy="send less")
        return message

    return bounded
