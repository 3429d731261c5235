"""Files in the spool have the readers and the group of its folder, whatever the umask of who writes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dropscribe.core import private_state
from dropscribe.core.errors import SpoolError
from dropscribe.core.types import Span
from dropscribe.worker.diarizing import embed
from dropscribe.worker.merging.speaker_embeddings import SpeakerEmbeddings
from dropscribe.worker.preparing import decode
from dropscribe.worker.runtime import spooled_audio
from tests.accounts import CLINIC, OWNER, STRANGER, shared_folder
from tests.e2e.harness import speech

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several accounts")


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(private_state.UMASK)
    yield
    os.umask(before)


@pytest.fixture
def spool() -> Iterator[Path]:
    with shared_folder() as top:
        (top / "spool").mkdir()
        yield top / "spool"


def spooled(spool: Path) -> list[Path]:
    """The audio and the embeddings of a job, as they come into the spool."""
    sound = speech(spool.parent / "talk.wav", 1.0)
    decode.decode(sound, spool / "job.flac", decode.DecodeLimits(), label="talk.wav")
    none = np.zeros((0, 2), dtype=np.float32)
    embed.save(spool / "job.0.npz", SpeakerEmbeddings(none, none, np.zeros(0, dtype=np.int64), "none"))
    return [spool / "job.flac", spool / "job.0.npz"]


@pytest.mark.parametrize(("folder", "file"), [(0o700, 0o600), (0o750, 0o640), (0o770, 0o640), (0o2775, 0o644)])
def test_they_have_the_read_bits_and_the_group_of_its_folder(spool: Path, folder: int, file: int) -> None:
    OWNER.owns(spool, folder)
    for path in spooled(spool):
        found = path.stat()
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (file, OWNER.uid, CLINIC)


def test_a_worker_of_another_account_reads_them_by_its_group_or_says_what_to_do(spool: Path) -> None:
    OWNER.owns(spool, 0o750)
    audio, embeddings = spooled(spool)
    member = replace(STRANGER, groups=(CLINIC,))
    assert member.can_read(audio)
    assert member.can_read(embeddings)
    advice = rf"account {STRANGER.uid} may not read .*; give dropscribe the same user number on every host"
    for read in (partial(spooled_audio.read, audio, Span(0.0, 1.0)), partial(embed.load, embeddings)):
        with pytest.raises(SpoolError, match=advice):
            STRANGER.does(read)
        spool.chmod(0o755)  # where it may look into the folder, it says the same of a closed file
        audio.chmod(0o600)
        embeddings.chmod(0o600)
        with pytest.raises(SpoolError, match=advice):
            STRANGER.does(read)
        spool.chmod(0o750)
