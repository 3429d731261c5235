"""What a settings file in a folder may say, what several add up to, and that none reaches beyond its root."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core import reserved_names
from dropscribe.core.errors import SettingsError
from dropscribe.core.folder_settings import KEYS, SettingsFilePlace, read
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.routing import ResidentModel, is_bound, model_queue, wish_of
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning.folder_files import SettingsFile
from dropscribe.scheduler.watching.folder_rules import Folders, read_folders

ROOT = Path("/share")
PLACE = SettingsFilePlace(ROOT, "talks/", Path("/results"))


def wrong(text: str, hotwords: str | None = None) -> str:
    with pytest.raises(SettingsError) as error:
        read(text, hotwords, PLACE)
    return str(error.value)


def folders(files: dict[str, str | SettingsFile], **changes: object) -> Folders:
    read = {name: SettingsFile(file) if isinstance(file, str) else file for name, file in files.items()}
    return read_folders(Settings(**changes), ROOT, read)


def test_nearer_settings_win_key_by_key() -> None:
    found = folders(
        {
            "": 'context = "a company"\npriority = "low"\noutputs = ["txt"]',
            "talks/": 'context = "a talk"\nengine = "vibevoice"',
            "talks/old/": 'priority = "normal"\noutputs = "srt, vtt"',
        },
        priority="high",
    )
    near = found.orders("talks/old/a.wav")
    assert (near.context, near.priority) == ("a talk", "normal")
    assert near.overrides_at("talks/old/a.wav") == JobOverrides(outputs=("srt", "vtt"), engine="vibevoice")
    far = found.orders("talks2/a.wav")
    assert (far.context, far.priority, far.overrides) == ("a company", "low", JobOverrides(outputs=("txt",)))


def test_without_settings_the_global_ones_hold() -> None:
    chosen = Settings(context="us", priority="high")
    found = read_folders(chosen, ROOT, {}).orders("a/b.wav")
    assert (found.context, found.priority, found.overrides_at("a/b.wav")) == ("us", "high", JobOverrides())
    assert found.settings_digest == chosen.digest()


def test_hotwords_stand_in_line_or_beside_or_both_and_replace_those_of_above() -> None:
    found = folders(
        {
            "": 'hotwords = "Turing, Hopper"',
            "a/": SettingsFile('hotwords = ["Ada", "C#"]', "Babbage # a comment\nByron, Ada"),
            "b/": SettingsFile("", "Knuth"),
            "c/": "hotwords = []",
        },
        context="a talk",
    )
    told = [found.orders(path).context for path in ("x.wav", "a/x.wav", "b/x.wav", "c/x.wav")]
    assert told == ["a talk; Turing, Hopper", "a talk; Ada, C#, Babbage, Byron", "a talk; Knuth", "a talk"]


def test_what_shapes_a_transcript_changes_the_digest_and_nothing_else_does() -> None:
    found = folders({"a/": 'outputs = ["txt"]', "b/": "chunk_seconds = 600", "c/": 'engine = "whisper"'})
    digests = [found.orders(path).settings_digest for path in ("x.wav", "a/x.wav", "b/x.wav", "c/x.wav")]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_where_the_engine_cannot_translate_recordings_wait() -> None:
    found = folders({"a/": 'task = "translate"', "b/": 'task = "translate"\nengine = "vibevoice"'})
    assert found.orders("a/x.wav").overrides == JobOverrides(task="translate")
    assert found.orders("a/x.wav").settings_digest != found.orders("x.wav").settings_digest
    assert (found.waits("a/x.wav"), found.waits("b/x.wav")) == (None, "b/")
    assert "the engine vibevoice cannot translate" in found.wrong["b/"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("engine = [", "this is not TOML"),
        ('task = "sing"', "task = 'sing': input should be 'transcribe' or 'translate'"),
        ('engine = "wisper"', "engine = 'wisper': input should be"),
        ('contxt = "x"', "unknown key contxt; did you mean context?"),
        ('"\\u001b[31m" = 1', r"unknown key \x1b[31m"),
        ('database_url = "x"', "unknown key database_url"),
        ("chunk_seconds = 0.01", "chunk_seconds: must be 0 or from 30"),
        ("chunk_seconds = inf", "chunk_seconds: must be 0 or from 30"),
        ("chunk_seconds = nan", "chunk_seconds: "),
        (f"chunk_seconds = {'9' * 5000}", "this is not TOML"),
        ("outputs = []", "outputs: "),
        ('outputs = ["exe"]', "outputs = 'exe': input should be"),
        ("context = 1979-05-27", "context: input should be a valid string"),
        (f'context = "{"x" * 10_001}"', "context"),
        ('results = "../other"', "without .."),
        ('results = "/etc"', "must lie within the watched folder"),
        ('results = "a\\u0000b"', "without .."),
        ('notify = "file:///etc/passwd"', "must be a web address"),
        ('notify = "https://"', "must be a web address"),
        ("[engine]\nname = 'x'", "engine: "),
        ("a = " + "[" * 3000, "this is not TOML"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    assert says in wrong(text)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    said = wrong('engine = "x"\nnotify = "y"\nfoo = 1').splitlines()
    assert [line.partition(" ")[0] for line in said] == ["unknown", "engine", "notify"]


def test_no_folder_switches_known_voices_on() -> None:
    assert "known_voices" not in KEYS
    assert "unknown key known_voices" in wrong("known_voices = true")


def test_results_mirror_what_lies_below_the_folder_that_names_them() -> None:
    found = folders({"talks/": 'results = "texts"', "talks/x/": 'results = ""'})
    assert found.orders("talks/a.wav").overrides_at("talks/a.wav") == JobOverrides(folder="/share/talks/texts")
    path = "talks/2026/may/a.wav"
    assert found.orders(path).overrides_at(path) == JobOverrides(folder="/share/talks/texts/2026/may")
    assert found.orders("talks/x/a.wav").overrides_at("talks/x/a.wav") == JobOverrides()
    allowed = read('results = "/results/talks"', None, PLACE)["results"]
    assert allowed.of("talks/may/a.wav") == "/results/talks/may"


def test_a_folder_whose_settings_are_wrong_waits_with_all_below_it() -> None:
    found = folders({"a/": "engine = 1", "a/b/": 'priority = "high"', "c/": 'context = "x"'})
    assert [found.waits(path) for path in ("a/x.wav", "a/b/x.wav", "c/x.wav", "x.wav", "ab/x.wav")] == [
        "a/", "a/", None, None, None
    ]  # fmt: skip
    (waiting,) = found.waiting(["a/x.wav", "a/b/x.wav", "c/x.wav"])
    assert (waiting.folder, waiting.files) == ("a/", 2)
    notices = found.notices({"a/", "c/"})
    assert "engine: " in (notices["a/" + reserved_names.ERROR] or "")
    assert notices["c/" + reserved_names.ERROR] is None


def test_settings_that_are_too_long_together_make_the_nearer_folder_wait() -> None:
    found = folders({"": f'context = "{"x" * 9000}"', "a/": SettingsFile("", "y" * 5000)})
    assert found.waits("a/x.wav") == "a/"
    assert found.waits("x.wav") is None
    assert "10,000 are allowed" in found.wrong["a/"]


def test_hotwords_of_the_fleet_that_cannot_be_read_are_no_folders_fault(tmp_path: Path) -> None:
    found = folders({"a/": "engine = 1"}, hotwords=tmp_path / "gone.txt")
    assert found.notices({"a/"}) == {}
    with pytest.raises(SettingsError, match=r"gone\.txt"):
        found.orders("b/x.wav")


KEY = st.sampled_from(KEYS)
VALUE = st.one_of(st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.lists(st.text(max_size=5)))


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else str(value)


@given(st.dictionaries(KEY, VALUE))
def test_whatever_a_file_says_results_stay_inside_and_values_fit_the_global_declarations(said: dict) -> None:
    text = "\n".join(f"{key} = {toml(value)}" for key, value in said.items())
    try:
        found = read(text, None, PLACE)
    except SettingsError:
        return
    if found.get("results"):
        assert any(found["results"].folder.is_relative_to(one) for one in ("/share", "/results"))
        assert ".." not in found["results"].folder.parts
    Settings().for_job(JobOverrides.read({k: v for k, v in found.items() if k not in {"results", "hotwords"}}))


def test_a_folder_names_a_checkpoint_only_of_those_that_are_allowed() -> None:
    place = replace(PLACE, models=("small", "large-v3"))
    assert read('model = "small"', None, place) == {"model": "small"}
    assert read('model = ""', None, PLACE) == {"model": ""}, "whichever comes, where a folder above wants one"
    with pytest.raises(SettingsError, match=r"model = 'tiny': it may be one of small, large-v3"):
        read('model = "tiny"', None, place)
    with pytest.raises(SettingsError, match="administrator allows some with `folder_models`"):
        read('model = "/etc/passwd"', None, PLACE)


def test_a_worker_serves_its_own_queues_and_the_common_one() -> None:
    assert model_queue() == "model"
    *common, own = ResidentModel("whisper", "Systran/faster-whisper-base@ebe41f7", "int8").queues
    assert set(common) == {"model", "model.whisper", "model.auto.int8", "model.whisper.int8"}
    for wish in (("auto", "auto"), ("whisper", "auto"), ("auto", "int8"), ("whisper", "int8")):
        assert model_queue(*wish) in common
        assert (model_queue(*wish) in ResidentModel("vibevoice", "v", "bf16").queues) == (wish == ("auto", "auto"))
    assert is_bound(own)
    assert not any(map(is_bound, common))
    assert [wish_of(queue) for queue in ("model", "model.whisper", "model.auto.int8", "model.whisper.int8", own)] == [
        "", "the engine whisper", "the precision int8", "the engine whisper in int8",
        "the model faster-whisper-base in int8 (whisper)",
    ]  # fmt: skip


def test_a_queue_of_its_own_tells_models_apart_by_engine_checkpoint_and_precision() -> None:
    one = ResidentModel("whisper", "/srv/models/a/small", "int8", "small")
    others = [
        ResidentModel("whisper", "/srv/models/b/small", "int8", "small"),
        ResidentModel("whisper", "/srv/models/a/small", "fp16", "small"),
        ResidentModel("vibevoice", "/srv/models/a/small", "int8", "small"),
    ]
    assert one.own_queue == ResidentModel("whisper", "/srv/models/a/small", "int8").own_queue
    assert len({one.own_queue, *(other.own_queue for other in others)}) == 4


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("small", "small"),
        ("large-v3", "large-v3"),
        ("microsoft/VibeVoice-ASR-HF", "VibeVoice-ASR-HF"),
        ("/srv/mödels/" + "x" * 300, "x" * 20),
        ("whisper.v2", "whisper.v2"),
    ],
)
def test_a_checkpoint_that_a_folder_wants_has_a_queue_whatever_it_is_called(checkpoint: str, said: str) -> None:
    queue = model_queue("vibevoice", "bf16", checkpoint)
    assert len(queue) <= 48
    assert wish_of(queue) == f"the engine vibevoice and the checkpoint {said} in bf16"
    assert wish_of(model_queue(checkpoint=checkpoint)) == f"the checkpoint {said}"
    worker = ResidentModel("vibevoice", "somewhere", "bf16", checkpoint)
    assert {queue, model_queue(checkpoint=checkpoint), model_queue(precision="bf16", checkpoint=checkpoint)} <= set(
        worker.queues
    )
    assert all(len(one) <= 48 for one in worker.queues)
    assert model_queue(checkpoint=checkpoint) not in ResidentModel("vibevoice", "somewhere", "bf16", "base").queues
