"""`dropscribe models list`, `show` and `fetch`: what is here and whether it is whole, against a hub of our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.models import inventory
from tests.hub import Hub, blob_name, served
from tests.schemas import conforms

CHECKPOINT = Path(__file__).parents[1] / "tiny" / "checkpoint"
with (CHECKPOINT / "model.safetensors").open("rb") as _file:  # the header's length stands before it
    BYTES = (CHECKPOINT / "model.safetensors").stat().st_size - 8 - int.from_bytes(_file.read(8), "little")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "tiny/model"

pytestmark = pytest.mark.usefixtures("elsewhere")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `dropscribe models` in this process."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["models", *map(str, arguments)], Context())
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """The tiny checkpoint in the cache, as huggingface_hub lays it out."""
    repository = tmp_path / "huggingface" / "hub" / "models--tiny--model"
    folder = repository / "snapshots" / COMMIT
    for place in (folder, repository / "blobs", repository / "refs"):
        place.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for path in CHECKPOINT.iterdir():
        blob = shutil.copy(path, repository / "blobs" / blob_name(path))
        (folder / path.name).symlink_to(os.path.relpath(blob, folder))
    return folder


def test_the_cache_and_folders_are_listed(run: Run, snapshot: Path, tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINT, tmp_path / "mine" / "copy")
    (tmp_path / "mine" / "notes").mkdir()
    code, out, _ = run("list", "mine", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["cache"] == str(tmp_path / "huggingface" / "hub")
    cached, folder = told["models"]
    assert (cached["name"], cached["revision"], cached["folder"]) == (ID, COMMIT, str(snapshot))
    assert (folder["name"], folder["revision"]) == (str(tmp_path / "mine" / "copy"), "")
    assert (folder["layout"], folder["dtypes"], folder["quantization"]) == ("transformers", {"BF16": BYTES}, "")
    conforms(told, "models-list")


def test_the_checkpoint_in_use_is_marked(run: Run, snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_MODEL", str(CHECKPOINT))
    _, out, _ = run("list")
    assert f"{CHECKPOINT} (in use)" in out
    assert ID in out
    monkeypatch.setenv("DROPSCRIBE_MODEL", ID)
    assert f"{ID} (in use)" in run("list")[1]


def test_an_empty_machine_says_how_to_get_one(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert "fetch one: dropscribe models fetch ID" in out
    assert json.loads(run("list", "--json")[1])["models"] == []


def test_one_checkpoint_is_shown_by_its_id_or_its_folder(run: Run, snapshot: Path) -> None:
    for name in (ID, str(snapshot)):
        code, out, _ = run("show", name, "--verify")
        assert code == 0
        assert "transformers, the engine vibevoice transcribes with it" in out
        assert "VibeVoiceAsrForConditionalGeneration" in out
        assert "verified" in out
    shown = json.loads(run("show", ID, "--revision", COMMIT, "--json")[1])
    assert shown["revision"] == COMMIT
    conforms(shown, "checkpoint")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_changed_file_is_found_by_its_hash_alone(name: str, run: Run, snapshot: Path) -> None:
    blob = (snapshot / name).resolve()
    content = blob.read_bytes()
    blob.write_bytes(
        content[:-2] + bytes([content[-2] ^ 1]) + content[-1:] if name == "model.safetensors" else b" " + content
    )
    assert run("show", ID)[0] == 0
    code, _, err = run("show", ID, "--verify")
    assert code == 1
    assert f"{name} is not what was published: its hash is" in err


def test_what_is_missing_or_torn_is_a_problem_without_looking_at_every_byte(
    run: Run, snapshot: Path, tmp_path: Path
) -> None:
    (snapshot / "tokenizer.json").resolve().unlink()
    code, _, err = run("list")
    assert code == 1
    assert "tokenizer.json leads nowhere; fetch it again" in err
    copy = shutil.copytree(CHECKPOINT, tmp_path / "copy")
    os.truncate(copy / "model.safetensors", 5_000_000)
    index = {"weight_map": {"a.weight": "model.safetensors", "b.weight": "other.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    code, out, err = run("show", "copy", "--json")
    assert code == 1
    torn, *lacking = json.loads(out)["problems"]
    assert "model.safetensors is broken: it has 5,000,000 bytes, and its header says" in torn
    assert [one.split()[0] for one in lacking] == ["model.safetensors", "other.safetensors"]


def test_a_config_or_an_index_that_is_no_json_is_a_problem(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(CHECKPOINT, tmp_path / "copy"))
    (copy / "config.json").write_text("[")
    (copy / "model.safetensors.index.json").write_text("{}")
    config, index = inventory.examine(copy).problems
    assert "config.json is broken" in config
    assert "model.safetensors.index.json is broken: it is not an index" in index


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["lst"], "list"),
        (["show"], "PATH"),
        (["show", "nowhere"], "nowhere is not a folder; name a checkpoint's"),
        (["show", "no/body"], "fetch it: dropscribe models fetch no/body"),
        (["list", "nowhere"], "nowhere is not a folder"),
        (["list", "--verfy"], "--verify"),
        (["fetch"], "ID"),
        (["fetch", "a/b/c"], "a/b/c is not an id of Hugging Face"),
    ],
)
def test_a_typo_is_an_error_with_a_hint(arguments: list[str], hint: str, run: Run) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert hint in err


@pytest.fixture
def hub() -> Iterator[str]:
    with served(Hub(CHECKPOINT, ID, COMMIT)) as found:
        yield found.url


def fetch(endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as huggingface_hub reads its environment when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "dropscribe", "models", "fetch", *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in ended.stderr
    return ended


def test_a_checkpoint_is_fetched_into_the_cache_without_what_nobody_needs(hub: str, run: Run) -> None:
    ended = fetch(hub, ID, "--json")
    assert ended.returncode == 0, ended.stderr
    assert f"asking for {ID}" in ended.stderr
    told = json.loads(ended.stdout)
    assert (told["revision"], told["problems"]) == (COMMIT, [])
    assert {path.name for path in Path(told["folder"]).iterdir()} == {path.name for path in CHECKPOINT.iterdir()}
    assert run("show", ID, "--verify")[0] == 0
    assert fetch(hub, ID, "--revision", COMMIT).returncode == 0  # again: nothing is left to do


def test_a_hub_that_does_not_have_it_or_is_not_there_is_one_sentence(hub: str) -> None:
    gone = fetch(hub, ID, "--revision", "v9")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert f"{ID} has no revision v9; look for it on {hub}/{ID}" in gone.stderr
    unknown = fetch(hub, "tiny/other")
    assert unknown.returncode == 1
    assert f"{hub} shows no tiny/other; check the name" in unknown.stderr
    unreachable = fetch("http://127.0.0.1:9", ID)
    assert unreachable.returncode == 1
    assert f"cannot fetch {ID} from http://127.0.0.1:9: " in unreachable.stderr
    assert "check the network" in unreachable.stderr
