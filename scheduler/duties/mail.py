"""Final states sent by e-mail. An e-mail names the recording and its files, and holds nothing of what was said."""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate
from ipaddress import ip_address
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from dropscribe.core import mail_settings
from dropscribe.core.mail_settings import PORTS, Mail
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties.channel import DeliveryError
from dropscribe.store.notifications import MAIL, Notification
from dropscribe.store.queries import Job

TIMEOUT = 10.0  # seconds of silence


class MailChannel:
    """Sends e-mail to those whom the settings or the operator's tables name."""

    name = MAIL
    seconds = 120.0

    def __init__(self, settings: Settings) -> None:
        self._folders = settings.folders
        self._mail = settings.of(Mail)
        self.tries = self._mail.tries

    def switches(self) -> set[str]:
        """See `NotificationChannel`."""
        return {MAIL} if self._mail.server else set()

    def wants(self, job: Job, one: Notification, /) -> bool:
        """Where the folder, or else the group, has receivers and names that state."""
        own = mail_settings.of_recording(self._mail, self._folders, job.source)
        return bool(own.to) and one.state in own.states

    def send(self, one: Notification, document: Mapping[str, Any], _stop: threading.Event, /) -> str:
        """See `NotificationChannel`."""
        own = mail_settings.of_recording(self._mail, self._folders, document["source"])
        try:
            refused = _send(self._mail, message(one, document, self._mail.sender or own.to[0], own.to))
        except smtplib.SMTPRecipientsRefused as error:
            raise DeliveryError(_all_said(error.recipients)) from error
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(_said((error.smtp_code, error.smtp_error))) from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise DeliveryError(f"no answer: {type(error).__name__}: {error}") from error
        return _all_said(refused)  # the others have it, and would get it again


def message(one: Notification, document: Mapping[str, Any], sender: str, to: Sequence[str]) -> EmailMessage:
    """What is sent. The id is the same each time, so that a mail program shows it once."""
    made = EmailMessage()
    made["Subject"] = f"dropscribe: {one.state}: {printable(PurePath(document['source']).name)}"
    made["From"], made["To"] = sender, ", ".join(to)
    made["Message-ID"], made["Date"] = f"<{one.id}@{sender.rpartition('@')[2]}>", formatdate(one.at)
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer by a machine
    told = [one.reason, *document["notes"], *(file["path"] for file in document["files"])]
    lines = [f"{document['source']}: {one.state}", *told, f"job {one.job_id}: dropscribe show {one.job_id}"]
    made.set_content("\n".join(filter(None, map(printable, lines))) + "\n")
    made.add_attachment(json.dumps(document, indent=2).encode(), "application", "json", filename=f"{one.job_id}.json")
    return made


def _send(mail: Mail, made: EmailMessage) -> dict[str, tuple[int, bytes]]:
    """Hand a message to the server of the settings; returns those receivers whom it refused, but not all."""
    server = _connected(mail)
    try:
        if mail.user:
            server.login(mail.user, mail.password)
        return server.send_message(made)
    finally:
        with suppress(OSError, smtplib.SMTPException):  # it has the message, whatever it says to that
            server.quit()
        server.close()


def _connected(mail: Mail) -> smtplib.SMTP:
    """A connection to the server, by TLS unless it is on this machine and has none."""
    address, context = urlsplit(mail.server), ssl.create_default_context()
    host, port = address.hostname or "", address.port or PORTS[address.scheme]
    if address.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=context)
    server = smtplib.SMTP(host, port, timeout=TIMEOUT)
    try:
        server.ehlo_or_helo_if_needed()
        if server.has_extn("starttls") or not _is_here(server.sock):
            server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server


def _is_here(connection: socket.socket | None) -> bool:
    """Is the other end on this machine?"""
    return connection is not None and ip_address(connection.getpeername()[0].partition("%")[0]).is_loopback


def _all_said(refused: Mapping[str, tuple[int, bytes]]) -> str:
    """What a server answered of each receiver whom it refused."""
    return "; ".join(f"{who}: {_said(why)}" for who, why in refused.items())


def _said(answer: tuple[int, bytes | str]) -> str:
    """What a server answered, as a sentence.

    >>> _said((550, b"no such user"))
    'it answered 550 no such user'
    """
    code, text = answer
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    return f"it answered {code} {printable(said)}"
