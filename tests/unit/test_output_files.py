"""Transcript files appear whole or not at all, and never over a file of somebody else's."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.access import Access
from dropscribe.core.errors import OutputError
from dropscribe.worker.finishing import placement
from dropscribe.worker.finishing.placement import TargetExistsError, candidates, digest, is_ours, publish, sweep

file_names = st.one_of(
    st.binary(min_size=1, max_size=255).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_")),
    st.text(st.sampled_from("aé你🙂."), min_size=1, max_size=85).map(lambda name: name.encode()[:255]),
).map(lambda raw: raw.decode("utf-8", "surrogateescape"))

READERS = Access(os.geteuid(), os.getegid(), 6, 4, 4)


def stage(target: Path, data: bytes, job_id: str, attempt: int) -> Path:
    return placement.stage(target, data, job_id, attempt, READERS)


def names(source: str, fmt: str = "txt") -> list[str]:
    return [path.name for path in candidates(Path("/in") / source, fmt, "7k3m9x", Path("/out"))]


class TestCandidates:
    def test_the_short_name_comes_first_and_the_jobs_own_last(self) -> None:
        assert names("talk.v2.wav") == ["talk.v2.txt", "talk.v2.wav.txt", "talk.v2.wav.7k3m9x.txt"]

    def test_equal_names_are_tried_once(self) -> None:
        assert names("talk") == ["talk.txt", "talk.7k3m9x.txt"]

    def test_the_source_itself_is_never_a_candidate(self) -> None:
        source = Path("/in/talk.json")
        assert source not in candidates(source, "json", "7k3m9x", Path("/in"))

    @given(file_names.filter(lambda name: name not in {".", ".."}))
    def test_every_name_fits_a_directory_and_cuts_no_character(self, source: str) -> None:
        for name in names(source):
            encoded = os.fsencode(name)
            assert len(encoded) <= 255
            assert encoded.endswith(b".txt")
            assert source.startswith(name.removesuffix(".txt").removesuffix(".7k3m9x"))

    def test_the_longest_name_that_a_disk_takes_gets_its_transcript(self, tmp_path: Path) -> None:
        source = tmp_path / ("é" * 125 + ".flac")
        source.touch()
        for number, target in enumerate(candidates(source, "json", "7k3m9x", tmp_path)):
            publish(stage(target, b"{}", "7k3m9x", number), target, replaces=False)
            assert target.read_bytes() == b"{}"


class TestStage:
    def test_it_writes_beside_the_target(self, tmp_path: Path) -> None:
        target = tmp_path / "talk.srt"
        temporary = stage(target, b"text", "7k3m9x", 2)
        assert temporary == target.parent / ".dropscribe-7k3m9x-2.srt.tmp"
        assert temporary.read_bytes() == b"text"
        assert not target.exists()
        assert is_ours(temporary.name)

    def test_a_link_laid_out_in_its_place_is_not_followed(self, tmp_path: Path) -> None:
        precious = tmp_path / "precious"
        precious.write_text("mine")
        (tmp_path / ".dropscribe-j-1.txt.tmp").symlink_to(precious)
        stage(tmp_path / "talk.txt", b"theirs", "j", 1)
        assert precious.read_text() == "mine"

    def test_a_failure_names_file_and_cause_and_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match=r"talk\.txt: Not a directory; see that .* is a folder") as caught:
            stage(tmp_path / "file" / "sub" / "talk.txt", b"", "j", 1)
        assert caught.value.retryable

    def test_a_name_that_is_no_utf8_gives_a_message_that_is(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError) as caught:
            stage(tmp_path / "file" / os.fsdecode(b"caf\xe9.txt"), b"", "j", 1)
        assert "caf\ufffd.txt" in str(caught.value)

    def test_a_write_that_fails_halfway_leaves_nothing(self, tmp_path: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(OutputError, match="File too large"):
                stage(tmp_path / "talk.txt", bytes(5000), "j", 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["hard links", "no hard links"])
def _filesystem(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a filesystem like FAT, which cannot be mounted here: it refuses links with EPERM."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("_filesystem")
class TestPublish:
    def test_the_file_appears_under_its_name_only(self, tmp_path: Path) -> None:
        target = tmp_path / "talk.txt"
        publish(stage(target, b"text", "j", 1), target, replaces=False)
        assert [path.name for path in tmp_path.iterdir()] == ["talk.txt"]
        assert target.read_bytes() == b"text"

    @pytest.mark.parametrize("kind", ["file", "folder", "link to nowhere"])
    def test_nothing_that_has_the_name_is_overwritten(self, tmp_path: Path, kind: str) -> None:
        target = tmp_path / "talk.txt"
        if kind == "file":
            target.write_text("mine")
        elif kind == "folder":
            target.mkdir()
        else:
            target.symlink_to("nowhere")
        before = target.lstat()
        temporary = stage(target, b"theirs", "j", 1)
        with pytest.raises(TargetExistsError, match=r"talk\.txt exists"):
            publish(temporary, target, replaces=False)
        assert target.lstat() == before
        assert temporary.read_bytes() == b"theirs"

    def test_our_own_file_is_replaced_when_told_so(self, tmp_path: Path) -> None:
        target = tmp_path / "talk.txt"
        target.write_text("old")
        publish(stage(target, b"new", "j", 2), target, replaces=True)
        assert target.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [target]

    def test_of_many_who_want_one_name_exactly_one_gets_it(self, tmp_path: Path) -> None:
        target = tmp_path / "talk.txt"
        staged = [stage(target, f"{number}".encode(), "j", number) for number in range(16)]

        def won(temporary: Path) -> bool:
            try:
                publish(temporary, target, replaces=False)
            except TargetExistsError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            wins = list(pool.map(won, staged))
        assert wins.count(True) == 1
        assert target.read_bytes() == f"{wins.index(True)}".encode()

    def test_a_missing_temporary_file_leaves_no_empty_transcript(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="No such file"):
            publish(tmp_path / "gone.tmp", tmp_path / "talk.txt", replaces=False)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("replaces", [True, False])
def test_publishing_goes_on_where_a_crash_left_both_names(tmp_path: Path, replaces: bool) -> None:
    target = tmp_path / "talk.txt"
    temporary = stage(target, b"text", "j", 1)
    target.hardlink_to(temporary)
    publish(temporary, target, replaces=replaces)
    assert list(tmp_path.iterdir()) == [target]


class TestDigest:
    def test_it_is_the_sha256_of_the_content(self, tmp_path: Path) -> None:
        path = tmp_path / "talk.txt"
        path.write_bytes(b"text")
        assert digest(path) == hashlib.sha256(b"text").hexdigest()

    def test_it_is_none_where_nothing_is(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert digest(tmp_path / "talk.txt") is None
        assert digest(tmp_path / "file" / "talk.txt") is None

    def test_what_we_do_not_write_has_no_digest_and_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to("pipe")
        assert [digest(tmp_path / name) for name in ("pipe", "link", ".")] == ["", "", ""]

    def test_an_unreadable_name_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="File name too long"):
            digest(tmp_path / ("a" * 256))


class TestSweep:
    def test_it_removes_all_temporaries_of_that_job_and_nothing_else(self, tmp_path: Path) -> None:
        stage(tmp_path / "talk.txt", b"", "a", 1)
        stage(tmp_path / "talk.json", b"", "a", 12)
        stage(tmp_path / "talk.txt", b"", "a-1", 1)
        (tmp_path / "talk.wav").touch()
        sweep(tmp_path, "a", 13, ["json", "txt"])
        assert {path.name for path in tmp_path.iterdir()} == {".dropscribe-a-1-1.txt.tmp", "talk.wav"}

    def test_a_folder_that_is_gone_needs_no_sweeping(self, tmp_path: Path) -> None:
        sweep(tmp_path / "gone", "a", 2, ["txt"])
        (tmp_path / "file").touch()
        sweep(tmp_path / "file", "a", 2, ["txt"])

    def test_it_does_not_list_the_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stage(tmp_path / "talk.txt", b"", "a", 1)
        listed: list[object] = []
        sys.addaudithook(lambda event, args: listed.append(args) if event in {"os.listdir", "os.scandir"} else None)
        sweep(tmp_path, "a", 2, ["txt"])
        assert listed == []


@pytest.mark.parametrize("name", ["talk.txt", ".dropscribe", "x.dropscribe-a-1.txt.tmp", ".dropscribe-a-b.txt.tmp"])
def test_other_names_are_not_ours(name: str) -> None:
    assert not is_ours(name)
