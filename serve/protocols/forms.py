"""A request in `multipart/form-data`: its fields, and its one file, which is written as it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartState, parse_options_header

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import TooLargeError, UsageError

FIELD_BYTES = 65_536  # of all fields and headers of a form together
BLOCK = 1 << 20  # bytes of the file that are written at once
SEND_A_FORM = "send multipart/form-data with the recording as the file {}"

Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SentForm:
    """The values of each field, whose name is without `[]` at its end; and what the file is called."""

    fields: Mapping[str, list[str]]
    file_name: str

    def text(self, name: str) -> str:
        """The last value of a field; empty where it has none."""
        return self.fields.get(name, [""])[-1]


@dataclass
class _Parts:
    """What the parser has found so far; `pending` are bytes of the file that are not written yet."""

    file_field: str
    fields: dict[str, list[str]] = field(default_factory=dict)
    file_name: str | None = None
    pending: bytearray = field(default_factory=bytearray)
    _name: str = ""
    _is_file: bool = False
    _value: bytearray = field(default_factory=bytearray)
    _header: bytearray = field(default_factory=bytearray)
    _says: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _taken: int = 0

    def begin(self) -> None:
        """A part begins."""
        self._value.clear()
        self._disposition = b""

    def header(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self._keep(self._header, data[start:end])

    def says(self, data: bytes, start: int, end: int) -> None:
        """A piece of what a header says."""
        self._keep(self._says, data[start:end])

    def header_ends(self) -> None:
        """Of the headers, one alone counts."""
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._says)
        self._header.clear()
        self._says.clear()

    def headers_end(self) -> None:
        """Tell whether the part is the file. Raises UsageError for a second file, and for a part without a name."""
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise UsageError("a part of the form has no name", remedy=SEND_A_FORM.format(self.file_field))
        self._name = options[b"name"].decode(errors="replace")
        self._is_file = self._name == self.file_field
        if self._is_file and self.file_name is not None:
            raise UsageError("the form has several recordings", remedy="send one request for each")
        if self._is_file:
            self.file_name = options.get(b"filename", b"").decode(errors="replace")

    def data(self, data: bytes, start: int, end: int) -> None:
        """A piece of the part."""
        if self._is_file:
            self.pending += data[start:end]
        else:
            self._keep(self._value, data[start:end])

    def end(self) -> None:
        """The part is over."""
        if not self._is_file:
            value = self._value.decode(errors="replace")
            self.fields.setdefault(self._name.removesuffix("[]"), []).append(value)

    def _keep(self, into: bytearray, piece: bytes) -> None:
        """Raises TooLargeError where all that is kept is too much."""
        self._taken += len(piece)
        if self._taken > FIELD_BYTES:
            raise TooLargeError(f"the fields of a form have at most {FIELD_BYTES} bytes", remedy="send less")
        into += piece


async def read(request: Request, file_field: str, write: Write, limit: int) -> SentForm:
    """Read the form of a request, and `write` the file in blocks as it comes.

    `limit` is how many bytes all of it may have. Raises UsageError if it is not such a form, TooLargeError, and what
    `write` raises.
    """
    parts = _Parts(file_field)
    parser = _parser(request, parts)
    taken = 0
    remedy = SEND_A_FORM.format(file_field)
    with explained(FormParserError, UsageError, "the form cannot be read", remedy=remedy):
        async for piece in request.stream():
            taken += len(piece)
            if taken > limit:
                raise TooLargeError(f"a request may have {limit:,} bytes", remedy="send a shorter recording")
            parser.write(piece)
            if len(parts.pending) >= BLOCK:
                await write(bytes(parts.pending))
                parts.pending.clear()
    if parser.state != MultipartState.END:  # or a part of a recording would be taken for all of it
        raise UsageError("the form breaks off before its end", remedy="send the whole form again")
    if parts.file_name is None:
        raise UsageError("the form has no recording", remedy=SEND_A_FORM.format(file_field))
    await write(bytes(parts.pending))
    return SentForm(parts.fields, parts.file_name)


def _parser(request: Request, parts: _Parts) -> MultipartParser:
    """What finds the parts in a request. Raises UsageError if it is not a form."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise UsageError("the request is not a form", remedy=SEND_A_FORM.format(parts.file_field))
    return MultipartParser(
        boundary,
        {
            "on_part_begin": parts.begin,
            "on_header_field": parts.header,
            "on_header_value": parts.says,
            "on_header_end": parts.header_ends,
            "on_headers_finished": parts.headers_end,
            "on_part_data": parts.data,
            "on_part_end": parts.end,
        },
    )
