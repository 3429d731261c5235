"""DOCX for word processors: title, facts, what must be known, and a paragraph for each turn."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from dropscribe.core.types import Transcript
from dropscribe.worker.outputs.text import clock, facts, legend, remarks, title
from dropscribe.worker.outputs.turns import Turn, turns

if TYPE_CHECKING:
    from docx.document import Document
    from docx.text.paragraph import Paragraph

_NOT_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")  # what is left that XML cannot hold; `clean` takes the rest


def render(transcript: Transcript) -> bytes:
    """The document; the same bytes for the same transcript."""
    from docx import Document  # takes a quarter of a second, which no other format should cost

    document = Document()
    _describe(document, transcript)
    document.add_heading(_xml(title(transcript)), level=0)
    table = document.add_table(rows=0, cols=2)
    for fact, value in facts(transcript):
        cells = table.add_row().cells
        cells[0].text, cells[1].text = fact, _xml(value)
    for remark in (*remarks(transcript), *legend(transcript)):
        document.add_paragraph(_xml(remark), style="Intense Quote")
    last = document.add_paragraph()  # adding after all others would look through them, time and again
    for turn in turns(transcript):
        _add(last.insert_paragraph_before(), turn)
    return _packed(document)


def _describe(document: Document, transcript: Transcript) -> None:
    """Write the title and the date into the document's properties."""
    properties = document.core_properties
    properties.title = _xml(title(transcript))[:255]  # the most that a property holds
    properties.author, properties.comments = "dropscribe", ""
    with suppress(ValueError):  # a transcript need not say when it was made
        properties.created = properties.modified = datetime.fromisoformat(transcript.created_at)


def _add(paragraph: Paragraph, turn: Turn) -> None:
    """Write what one speaker says: when, who in bold, and the words."""
    paragraph.add_run(f"{clock(turn.start)} ")
    if turn.label:
        paragraph.add_run(f"{_xml(turn.label)}: ").bold = True
    paragraph.add_run(_xml(turn.text))


def _packed(document: Document) -> bytes:
    """The file, packed again without the time of day."""
    made, packed = BytesIO(), BytesIO()
    document.save(made)
    with ZipFile(made) as source, ZipFile(packed, "w") as target:
        for name in source.namelist():
            target.writestr(ZipInfo(name), source.read(name), ZIP_DEFLATED)
    return packed.getvalue()


def _xml(text: str) -> str:
    """The text without characters that XML has no place for."""
    return _NOT_XML.sub("\ufffd", text)
