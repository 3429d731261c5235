"""`dropscribe export` against a real store: which files it writes, and which it leaves alone."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.types import EngineInfo, JobState, Media, Segment, Source, Transcript
from dropscribe.store import chunk_plans, jobs, transcripts, written_files
from dropscribe.store.chunk_plans import Prepared
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from dropscribe.store.transcripts import Reservation
from dropscribe.worker.outputs import FORMATS, json_, render

ENGINE = EngineInfo("scripted", "none", "none")


class Shop:
    """A store, an inbox, and the command."""

    def __init__(self, database: Database, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.database = database
        self.inbox = home / "inbox"
        self.inbox.mkdir()
        self._capsys = capsys

    def admit(self, path: str, mtime: int = 1, **overrides: str) -> str:
        new = NewJob(str(self.inbox), path, 9, mtime, "digest", "normal", overrides=JobOverrides.read(overrides))
        (job_id,) = jobs.admit(self.database, [new])
        return job_id

    def done(self, path: str, said: str = "hello there", mtime: int = 1, **overrides: str) -> str:
        """A recording that was read, and its text file."""
        job_id = self.admit(path, mtime, **overrides)
        claim = jobs.claim_prepare(self.database, job_id, "cpu", 90)
        assert claim
        chunk_plans.prepared(self.database, claim, Prepared(3.0, Media(), "energy", [], []), window=2)
        claim = jobs.claim_finish(self.database, job_id, "cpu", 90)
        assert claim
        source = Source(str(self.inbox / path), 9, "", 3.0, "wav", "pcm_s16le", 1, 8000)
        transcript = Transcript(job_id, source, ENGINE, (Segment(0.0, 2.0, said),))
        transcripts.save(self.database, claim, render(transcript, "json").decode())
        target = (self.inbox / path).with_suffix(".txt")
        asked = Reservation(str(target), "txt", hashlib.sha256(b"").hexdigest())
        files = transcripts.reserve(self.database, claim, [asked])
        if files:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"")
        jobs.complete(self.database, claim, JobState.DONE, files=[*files])
        return job_id

    def export(self, *arguments: str | Path) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = main(["export", *map(str, arguments)], Context())
        return (code, *self._capsys.readouterr())

    def files(self, *, ending: str = ".html") -> dict[str, str]:
        found = sorted(path for path in self.inbox.parent.rglob(f"*{ending}"))
        return {str(path.relative_to(self.inbox.parent)): path.read_text(errors="replace") for path in found}


@pytest.fixture
def shop(
    database: Database,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shop:
    monkeypatch.setenv("DROPSCRIBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return Shop(database, tmp_path, capsys)


def test_every_recording_of_a_folder_gets_its_file_beside_it(shop: Shop) -> None:
    shop.done("a.wav")
    shop.done("deep/b.wav")
    shop.admit("later.wav")
    code, out, _ = shop.export(shop.inbox, "--format", "html")
    assert (code, out) == (0, f"{shop.inbox}/a.html\n{shop.inbox}/deep/b.html\n")
    assert list(shop.files()) == ["inbox/a.html", "inbox/deep/b.html"]
    assert 'src="b.wav"' in shop.files()["inbox/deep/b.html"]


def test_elsewhere_the_folders_are_mirrored_and_the_recording_is_found(shop: Shop) -> None:
    shop.done("deep/b.wav")
    assert shop.export(shop.inbox, "--format", "html", "--to", "pages")[0] == 0
    assert 'src="../../../inbox/deep/b.wav"' in shop.files()["pages/inbox/deep/b.html"]


def test_copies_are_written_with_a_note_where_a_mount_says_who_may_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forced(path: str | Path, flags: int, *arguments: Any, **more: Any) -> int:
        descriptor = real_open(path, flags, *arguments, **more)
        if flags & os.O_CREAT:
            real_fchmod(descriptor, 0o777)
        return descriptor

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    real_open, real_fchmod = os.open, os.fchmod
    monkeypatch.setattr(os, "open", forced)  # as of FAT, SMB and /mnt/c, which cannot be mounted here
    monkeypatch.setattr(os, "fchmod", refuse)
    monkeypatch.setattr(os, "setxattr", refuse)
    job_id = shop.done("a.wav")
    more = "more people could read it there than can read its recording"
    code, out, err = shop.export(job_id, "-f", "txt", "--to", "copies")
    target = shop.inbox.parent / "copies" / "inbox" / "a.txt"
    assert (code, out) == (0, f"{target}\n")
    assert f"note: {target}: {more}" in err
    assert "hello there" in target.read_text()
    assert main(["transcript", job_id, "--output", "one.txt"], Context()) == 0
    assert f"one.txt: {more}" in capsys.readouterr().err
    assert f"all.json: {more}" in shop.export(job_id, "--combined", "all.json")[2]


def test_files_go_where_the_settings_of_their_folder_say(shop: Shop) -> None:
    job_id = shop.done("a.wav", folder=str(shop.inbox / "texts"))
    assert shop.export(job_id, "-f", "html")[0] == 0
    assert 'src="../a.wav"' in shop.files()["inbox/texts/a.html"]
    astray = shop.done("b.wav", folder=str(shop.inbox.parent / "elsewhere"))
    assert shop.export(astray, "-f", "html")[0] == 1


@pytest.mark.parametrize("fmt", FORMATS)
def test_there_is_a_file_in_every_format(shop: Shop, fmt: str) -> None:
    job_id = shop.done("a.wav")
    assert shop.export(job_id, "-f", fmt, "--to", "out")[0] == 0
    folder = Path("out/inbox").absolute()
    stored = json_.from_json(transcripts.document(shop.database, job_id) or "")
    assert (folder / f"a.{fmt}").read_bytes() == render(stored, fmt, folder)


def test_a_file_that_differs_is_kept_unless_forced(shop: Shop) -> None:
    job_id = shop.done("a.wav")
    page = shop.inbox / "a.html"
    page.write_text("mine")
    code, _, err = shop.export(job_id, "-f", "html")
    assert (code, page.read_text()) == (1, "mine")
    assert "a.html exists and has other content; replace it with --force" in err
    assert shop.export(job_id, "-f", "html", "--force")[0] == 0
    assert "hello there" in page.read_text()
    assert shop.export(job_id, "-f", "html")[0] == 0, "the same content is no conflict"
    assert not list(shop.inbox.glob(".dropscribe*"))


def test_what_workers_wrote_is_never_touched(shop: Shop) -> None:
    job_id = shop.done("a.wav")
    code, _, err = shop.export(job_id, "-f", "txt", "--force")
    assert (code, shop.files(ending=".txt")) == (1, {"inbox/a.txt": ""})
    assert "written only by workers" in err
    assert [file.path for file in written_files.files_of(shop.database, job_id)] == [f"{shop.inbox}/a.txt"]


def test_recordings_that_share_a_name_get_files_of_their_own_time_and_again(shop: Shop) -> None:
    shop.done("a.mp3", "from mp3")
    shop.done("a.wav", "from wav")
    for _ in range(2):
        assert shop.export(shop.inbox, "-f", "html", "--force")[0] == 0
        assert {name: "from mp3" in text for name, text in shop.files().items()} == {
            "inbox/a.html": True,
            "inbox/a.wav.html": False,
        }


def test_the_newest_transcript_of_a_recording_is_taken(shop: Shop) -> None:
    shop.done("a.wav", "as it was", mtime=1)
    shop.done("a.wav", "as it is", mtime=2)
    assert shop.export(shop.inbox, "-f", "md")[0] == 0
    assert "as it is" in shop.files(ending=".md")["inbox/a.md"]


def test_one_that_fails_does_not_keep_the_others_from_it(shop: Shop) -> None:
    waiting, job_id = shop.admit("later.wav"), shop.done("a.wav")
    code, out, err = shop.export(waiting, job_id, "-f", "html", "--json")
    told = json.loads(out)
    assert (code, told["files"]) == (1, [{"job": job_id, "path": f"{shop.inbox}/a.html"}])
    assert [one["job"] for one in told["refused"]] == [waiting]
    assert "has no transcript" in err


def test_a_folder_without_transcripts_is_said(shop: Shop) -> None:
    code, out, err = shop.export(shop.inbox, "-f", "html")
    assert (code, out) == (1, "")
    assert "no recording in" in err


def test_a_name_that_is_no_utf8_still_leads_to_the_recording(shop: Shop) -> None:
    job_id = shop.done(b"caf\xe9.wav".decode("utf-8", "surrogateescape"))
    assert shop.export(job_id, "-f", "html", "--to", "out")[0] == 0
    (page,) = shop.files().values()
    assert 'src="../../inbox/caf%E9.wav"' in page


def test_one_file_holds_the_transcripts_of_a_folder_by_path(shop: Shop) -> None:
    shop.done("b.wav", "second")
    shop.done("a/a.wav", "first")
    target = shop.inbox / "all.json"
    code, out, _ = shop.export(shop.inbox, "--combined", target)
    assert (code, out.splitlines()) == (0, [f"{target}: 2 transcripts"])
    document = json.loads(target.read_text())
    assert document["schema"] == "dropscribe.transcripts/1"
    assert [one["segments"][0]["text"] for one in document["transcripts"]] == ["first", "second"]
    assert json_.from_json(json.dumps(document["transcripts"][0])).source.path == str(shop.inbox / "a" / "a.wav")
    assert shop.export(shop.inbox, "--combined", target)[0] == 0, "it is there already"
    shop.done("c.wav", "third")
    code, _, err = shop.export(shop.inbox, "--combined", target)
    assert code == 1
    assert "--force" in err
    assert shop.export(shop.inbox, "--combined", target, "--force")[0] == 0
    assert len(json.loads(target.read_text())["transcripts"]) == 3


def test_what_has_no_transcript_is_said_beside_the_one_file_of_the_others(shop: Shop, tmp_path: Path) -> None:
    done, waits = shop.done("a.wav"), shop.admit("b.wav")
    code, out, err = shop.export(done, waits, "--combined", tmp_path / "all.json", "--json")
    told = json.loads(out)
    assert code == 1
    assert f"{waits} is queued and has no transcript" in err
    assert [one["job"] for one in told["files"]] == [done]
    assert [one["job"] for one in told["refused"]] == [waits]
    for options in (["--to", tmp_path], ["--format", "srt"]):
        assert shop.export(done, "--combined", tmp_path / "all.json", *options)[0] == 2
    assert shop.export(done)[0] == 2, "neither a format nor one file"
