"""Names that changed: the old ones are read, and written beside the new ones, for one version."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from docs import reference
from dropscribe.core import folder_settings, logs, old_names, settings, settings_loading
from dropscribe.core.errors import SettingsError
from dropscribe.core.folder_settings import SettingsFilePlace
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.types import Segment, Span, Speaker
from dropscribe.worker.outputs.json_ import from_json
from dropscribe.worker.transcribing.quality_checks import Rule
from tests.documents import REPOSITORY
from tests.unit.test_outputs import BOARD, text_of

# A value for each setting that is not its default.
VALUES = {
    "smallest_chunk_seconds": 7.0,
    "most_halvings": 2,
    "gate_coverage": 0.5,
    "gate_words_per_second": 5.0,
    "gate_slack_seconds": 0.25,
    "unfit_failures": 9,
    "quantize": ["head"],
    "attention": "sdpa",
    "vibevoice.gpu_share": 0.5,
    "batching": False,
    "script": "{}",
}
SHAPING = {"quantize", "script"}  # those that shape transcripts
CHANGED = sorted(old_names.SETTINGS.items())
each_setting = pytest.mark.parametrize(("old", "new"), CHANGED)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No dropscribe.toml of the developer's is in reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@each_setting
def test_an_old_name_is_read_wherever_a_setting_may_stand_and_the_remark_names_the_new_one(
    old: str, new: str, elsewhere: Path
) -> None:
    variable, value = settings.variable(old), VALUES[old]
    by_environment = settings_loading.load({variable: ",".join(value) if isinstance(value, list) else str(value)})
    by_option = settings_loading.load({}, overrides={old: value})
    (elsewhere / "dropscribe.toml").write_text(f"{old} = {json.dumps(value)}\n")
    by_file = settings_loading.load({})
    for found in (by_environment, by_option, by_file):
        told = found.value(new)
        assert (list(told) if isinstance(told, tuple) else told) == value
        assert told != settings.fields()[new].default
    assert by_environment.remarks == (
        f"{variable} is the old name, accepted until version 0.2; say {settings.variable(new)}",
    )
    assert by_option.remarks == (f"{old} is the old name, accepted until version 0.2; say {new}",)
    (remark,) = by_file.remarks
    assert remark.startswith(f"{old} in dropscribe.toml is the old name")
    assert f"say {new} in dropscribe.toml" in remark


def test_a_value_that_does_not_fit_is_refused_under_an_old_name_too() -> None:
    with pytest.raises(SettingsError, match="DROPSCRIBE_MAX_HALVINGS"):
        settings_loading.load({"DROPSCRIBE_MOST_HALVINGS": "seven"})


def test_of_both_names_in_one_place_the_new_one_holds_and_that_is_said(elsewhere: Path) -> None:
    found = settings_loading.load({"DROPSCRIBE_MOST_HALVINGS": "1", "DROPSCRIBE_MAX_HALVINGS": "2"})
    assert found.max_halvings == 2
    assert "DROPSCRIBE_MOST_HALVINGS is ignored" in found.remarks[0]


def test_an_old_name_in_the_environment_wins_over_the_new_one_in_the_file(elsewhere: Path) -> None:
    (elsewhere / "dropscribe.toml").write_text("max_halvings = 2\n")
    environment = {"DROPSCRIBE_MOST_HALVINGS": "1"}
    found = settings_loading.load(environment)
    assert found.max_halvings == 1
    sources = {origin.name: origin.source for origin in settings_loading.origins(found, environment)}
    assert sources["max_halvings"] == "environment"
    assert not sources.keys() & old_names.SETTINGS.keys()


def test_new_names_are_not_remarked_on() -> None:
    assert settings_loading.load({"DROPSCRIBE_MAX_HALVINGS": "1", "DROPSCRIBE_WHEN_DONE": "archive"}).remarks == ()


def test_the_digest_goes_by_new_names_whatever_the_settings_are_called() -> None:
    digest = settings_loading.load({}).digest()
    assert digest == "43750cdde5f79767", "another digest than stored jobs have needs a reason"
    named = {settings.variable(old): str(value) for old, value in VALUES.items() if old not in SHAPING}
    assert settings_loading.load(named).digest() == digest


def test_a_process_that_logs_says_each_remark_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    logs.configure(settings_loading.load({"DROPSCRIBE_MOST_HALVINGS": "1", "DROPSCRIBE_WHEN_DONE": "move"}))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["warning", "warning"]
    assert [line["message"].partition(" is the old")[0] for line in lines] == [
        "DROPSCRIBE_WHEN_DONE = 'move'",
        "DROPSCRIBE_MOST_HALVINGS",
    ]


def test_the_old_value_of_when_done_is_read_everywhere() -> None:
    assert settings_loading.load({"DROPSCRIBE_WHEN_DONE": "move"}).when_done == "archive"
    assert settings_loading.load({}).for_job(JobOverrides.read({"when_done": "move"})).when_done == "archive"


def test_a_folder_may_still_say_move_and_its_jobs_keep_what_they_always_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = SettingsFilePlace(Path("/share"), "old talks/")
    said = [folder_settings.read(f'when_done = "{word}"', None, place) for word in ("move", "archive", "move")]
    assert said == [{"when_done": "archive"}] * 3
    remarks = [record.message for record in caplog.records if "old name" in record.message]
    (remark,) = remarks
    assert remark.startswith("settings of the folder /share/old talks: when_done = 'move' is the old name")
    assert remark.endswith("say 'archive'")
    general = folder_settings.general(settings_loading.load({}))
    order = folder_settings.effective(settings_loading.load({}), {**general, **said[0]})
    assert order.overrides.stored() == {"when_done": "move"}
    assert order.moves


GONE = "pocketsphinx is no longer part of dropscribe; use whisper"


def test_an_engine_that_is_gone_is_refused_wherever_it_is_set_with_what_to_use_instead(elsewhere: Path) -> None:
    with pytest.raises(SettingsError) as by_environment:
        settings_loading.load({"DROPSCRIBE_ENGINE": "pocketsphinx"})
    (elsewhere / "dropscribe.toml").write_text('engine = "pocketsphinx"\n')
    with pytest.raises(SettingsError) as by_file:
        settings_loading.load({})
    with pytest.raises(SettingsError) as by_folder:
        folder_settings.read('engine = "pocketsphinx"', None, SettingsFilePlace(Path("/share")))
    assert str(by_environment.value) == f"DROPSCRIBE_ENGINE = 'pocketsphinx': {GONE}"
    assert str(by_file.value) == f"engine in dropscribe.toml = 'pocketsphinx': {GONE}"
    assert str(by_folder.value) == f"engine = 'pocketsphinx': {GONE}"


def test_a_job_that_was_admitted_with_an_engine_that_is_gone_says_so() -> None:
    with pytest.raises(SettingsError, match=f"engine = 'pocketsphinx': {GONE}"):
        settings_loading.load({}).for_job(JobOverrides(engine="pocketsphinx"))


def old_only(document: dict[str, Any]) -> dict[str, Any]:
    """A transcript as the version before wrote it."""
    document = {key: value for key, value in document.items() if key != "uncovered_speech"}
    for items, new in (("speakers", "maybe_same"), ("segments", "confidence")):
        document[items] = [{key: value for key, value in one.items() if key != new} for one in document[items]]
    return document


DOUBTFUL = replace(BOARD, speakers=(Speaker(0, "", 9.9, (1,), (0.5,)), Speaker(1, "Grace", 3.65, (0,), (0.5,))))


def test_a_transcript_has_both_names_with_the_same_value() -> None:
    document = json.loads(text_of(DOUBTFUL, "json"))
    assert document["missing"] == document["uncovered_speech"] == [{"start": 12.0, "end": 29.6}]
    assert [one["perhaps"] for one in document["speakers"]] == [one["maybe_same"] for one in document["speakers"]]
    assert [one["quality"] for one in document["segments"]] == [one["confidence"] for one in document["segments"]]
    assert document["segments"][-1]["confidence"] == 0.91
    assert document["speakers"][0]["maybe_same"] == [1]


def test_a_transcript_with_the_old_names_only_is_read() -> None:
    assert from_json(json.dumps(old_only(json.loads(text_of(DOUBTFUL, "json"))))) == DOUBTFUL


def test_the_old_names_are_marked_in_the_schema() -> None:
    schema = json.loads((REPOSITORY / "docs" / "transcript.schema.json").read_text())
    parts = {**schema["$defs"], "transcript": schema}
    found = {
        name for part in parts.values() for name, what in part.get("properties", {}).items() if what.get("deprecated")
    }
    assert found == old_names.TRANSCRIPT.keys() | old_names.SPEAKER.keys() | old_names.SEGMENT.keys()


def test_old_names_can_be_read_in_python_with_a_warning() -> None:
    with pytest.deprecated_call(match="confidence"):
        assert Segment(0, 1, "a", confidence=0.5).quality == 0.5
    with pytest.deprecated_call(match="maybe_same"):
        assert Speaker(0, maybe_same=(1,)).perhaps == (1,)
    with pytest.deprecated_call(match="uncovered_speech"):
        assert replace(BOARD, uncovered_speech=(Span(1, 2),)).missing == (Span(1, 2),)


def test_the_schemas_of_commands_have_both_names_and_mark_the_old_ones() -> None:
    worker = json.loads((reference.SCHEMAS / "worker.json").read_text())["properties"]["work"]["items"]
    speaker = json.loads((reference.SCHEMAS / "speakers.json").read_text())["properties"]["speakers"]["items"]
    job = json.loads((reference.SCHEMAS / "job.json").read_text())
    for schema, changed in ((job, old_names.JOB), (worker, old_names.WORK), (speaker, old_names.SPEAKER)):
        for old, new in changed.items():
            before, after = schema["properties"][old], schema["properties"][new]
            assert before["deprecated"]
            assert "deprecated" not in after
            assert before["type"] == after["type"]
            assert {old, new} <= set(schema["required"])


def test_a_new_name_was_not_another_ones_old_name() -> None:
    for table in (old_names.SETTINGS, old_names.JOB, old_names.EVENTS, old_names.CHECKS, old_names.METRICS):
        assert not table.keys() & set(table.values())
        assert len(set(table.values())) == len(table)


def test_a_check_has_the_new_name() -> None:
    checks = {rule.value for rule in Rule}
    assert set(old_names.CHECKS.values()) <= checks
    assert not checks & old_names.CHECKS.keys()


def test_the_glossary_lists_every_name_that_changed() -> None:
    text = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| .+ \| (?:until|as long|no longer).* \|$", text, re.MULTILINE))
    whole = {
        *old_names.SETTINGS.items(), *old_names.TRANSCRIPT.items(), *old_names.JOB.items(), *old_names.EVENTS.items(),
        *old_names.CHECKS.items(), *old_names.STEPS.items(), *old_names.METRICS.items(),
        *old_names.NOTIFICATION.items(),
    }  # fmt: skip
    within = {
        ('when_done = "move"', 'when_done = "archive"'), ('engine = "pocketsphinx"', 'engine = "whisper"'),
        ("speakers[].perhaps", "speakers[].maybe_same"),
        ("segments[].quality", "segments[].confidence"), ("work[].read", "work[].transcribed_seconds"),
        ("Segment.quality", "Segment.confidence"), ("Speaker.perhaps", "Speaker.maybe_same"),
        ("Transcript.missing", "Transcript.uncovered_speech"),
    }  # fmt: skip
    assert told == whole | within
