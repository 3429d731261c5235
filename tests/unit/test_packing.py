"""Documents in the store take little space, and come back as they were, those of every version."""

from __future__ import annotations

import hashlib
import json
import zlib

import pytest

from dropscribe.store import packing

DOCUMENT = json.dumps({"schema": "dropscribe.transcript/1", "segments": [{"text": "déjà vu"}]}, ensure_ascii=False)


@pytest.mark.parametrize("stored", [packing.pack(DOCUMENT), zlib.compress(DOCUMENT.encode()), DOCUMENT.encode()])
def test_a_document_of_every_version_is_read(stored: bytes) -> None:
    assert packing.unpack(stored) == DOCUMENT


def test_what_nearly_all_documents_say_takes_next_to_nothing() -> None:
    said = packing.DICTIONARY.decode()
    assert len(packing.pack(said)) < len(said) / 20


def test_the_dictionary_is_the_one_that_stores_were_written_with() -> None:
    assert hashlib.sha256(packing.DICTIONARY).hexdigest()[:16] == "69354897143eb0b0"
