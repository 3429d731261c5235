"""Settings: environment over file over default, with errors that help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dropscribe.core import old_names, settings, settings_loading, store_settings
from dropscribe.core.errors import SettingsError
from dropscribe.core.passwords import mask
from dropscribe.core.types import Priority
from dropscribe.models.scripted.settings import ScriptedSettings
from dropscribe.models.vibevoice.settings import VibeVoiceSettings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No dropscribe.toml of the developer's is in reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_without_anything_the_defaults_hold(elsewhere: Path) -> None:
    found = settings_loading.load({})
    assert found.home == elsewhere / "state" / "dropscribe"
    assert found.database == f"sqlite:///{found.home}/dropscribe.db"
    assert found.outputs == ("json", "txt", "srt", "vtt", "tsv")


def test_what_nobody_set_is_the_same_without_pydantic(elsewhere: Path) -> None:
    for environ in ({}, {"DROPSCRIBE_HOME": "state"}, {"DROPSCRIBE_HOME": "", "HOME": "/root"}):
        plain, whole = store_settings.unset(environ), settings_loading.load(environ)
        assert plain
        for name in ("home", "database", "sqlite_file", "engine", "silence_seconds"):
            assert getattr(plain, name) == getattr(whole, name)


def test_what_somebody_set_is_read_and_checked(elsewhere: Path) -> None:
    for name in ("DATABASE_URL", "CONFIG", "ENGIN"):
        assert store_settings.unset({f"DROPSCRIBE_{name}": ""}) is None
    (elsewhere / "state" / "dropscribe").mkdir(parents=True)
    for folder in (elsewhere, elsewhere / "state" / "dropscribe"):
        (folder / "dropscribe.toml").touch()
        assert store_settings.unset({}) is None
        (folder / "dropscribe.toml").unlink()
    assert store_settings.unset({})


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////var/lib/jobs.db", Path("/var/lib/jobs.db")),
        ("sqlite+pysqlite:////var/lib/jobs.db?timeout=5", Path("/var/lib/jobs.db")),
        ("sqlite://", None),
        ("postgresql+psycopg://me@db/jobs", None),
    ],
)
def test_only_an_sqlite_database_has_a_file(url: str, file: Path | None) -> None:
    assert settings_loading.load({"DROPSCRIBE_DATABASE_URL": url}).sqlite_file == file


def test_options_win_over_environment_over_file(elsewhere: Path) -> None:
    (elsewhere / "dropscribe.toml").write_text('engine = "scripted"\ncontext = "file"\npriority = "low"\n')
    environment = {"DROPSCRIBE_CONTEXT": "environment", "DROPSCRIBE_ENGINE": "vibevoice"}
    found = settings_loading.load(environment, overrides={"engine": "whisper", "context": None})
    assert (found.engine, found.context, found.priority) == ("whisper", "environment", Priority.LOW)
    sources = {origin.name: origin.source for origin in settings_loading.origins(found, environment)}
    assert sources["context"] == "environment"
    assert sources["priority"].endswith("dropscribe.toml")
    assert sources["home"] == "default"


def test_one_model_that_is_named_wins_over_a_list_of_models_below_it(elsewhere: Path) -> None:
    Path("dropscribe.toml").write_text('engines = ["vibevoice", "whisper:small"]\nmodel = "base"\n')
    assert settings_loading.load({}).engines == ("vibevoice", "whisper:small")
    assert settings_loading.load({}, overrides={"engine": None, "model": "small"}).engines == ()
    assert settings_loading.load({"DROPSCRIBE_ENGINE": "whisper"}).engines == ()
    listed = {"DROPSCRIBE_ENGINES": "whisper:tiny", "DROPSCRIBE_MODEL": "small"}
    assert settings_loading.load(listed).engines == ("whisper:tiny",)
    assert settings_loading.load(listed, overrides={"engine": "auto"}).engines == ()
    both = {"engines": "whisper:small", "model": "base"}
    assert settings_loading.load(listed, overrides=both).engines == ("whisper:small",)


def test_a_service_that_is_told_one_model_does_not_run_the_list_of_the_file(elsewhere: Path) -> None:
    Path("dropscribe.toml").write_text('engines = ["vibevoice", "whisper:small"]\n')
    overrides = {"model": "small"}
    loaded = settings_loading.load({}, overrides=overrides)
    variables = settings_loading.as_environment(loaded, {}, overrides=overrides)
    assert settings_loading.load(variables).engines == ()
    assert settings_loading.load(variables).model == "small"


def test_the_file_may_lie_in_home_or_be_named(elsewhere: Path) -> None:
    home = elsewhere / "home"
    home.mkdir()
    (home / "dropscribe.toml").write_text('context = "home"\n')
    (elsewhere / "named.toml").write_text('context = "named"\n')
    assert settings_loading.load({"DROPSCRIBE_HOME": str(home)}).context == "home"
    assert settings_loading.load({"DROPSCRIBE_CONFIG": "named.toml"}).context == "named"
    with pytest.raises(SettingsError, match=r"gone\.toml"):
        settings_loading.load({"DROPSCRIBE_CONFIG": "gone.toml"})


def test_an_unknown_variable_names_the_nearest(elsewhere: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean DROPSCRIBE_ENGINE"):
        settings_loading.load({"DROPSCRIBE_ENGIN": "auto"})
    with pytest.raises(SettingsError, match="unknown environment variable DROPSCRIBE_FOO; `dropscribe config` lists"):
        settings_loading.load({"DROPSCRIBE_FOO": "x"})


def test_a_list_of_which_nothing_is_right_is_not_called_empty_too(elsewhere: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_loading.load({"DROPSCRIBE_OUTPUTS": "pdf"})
    assert "pdf" in str(caught.value)
    assert "at least" not in str(caught.value)


def test_an_unknown_key_names_file_and_nearest(elsewhere: Path) -> None:
    (elsewhere / "dropscribe.toml").write_text("stable_second = 3\n")
    with pytest.raises(SettingsError, match=r"dropscribe\.toml: unknown setting .* did you mean stable_seconds"):
        settings_loading.load({})


def test_settings_of_an_engine_form_a_table_of_the_file_and_carry_its_name_in_the_environment(elsewhere: Path) -> None:
    (elsewhere / "dropscribe.toml").write_text(
        'engine = "vibevoice"\n[vibevoice]\nattention = "sdpa"\nbatching = false\n[scripted]\nscript = "{}"\n'
    )
    environment = {"DROPSCRIBE_VIBEVOICE_BATCHING": "true"}
    found = settings_loading.load(environment)
    own = found.of(VibeVoiceSettings)
    assert (own.attention, own.batching) == ("sdpa", True)
    assert found.of(ScriptedSettings).script == "{}"
    assert found.remarks == ()
    told = {origin.name: (origin.value, origin.source) for origin in settings_loading.origins(found, environment)}
    assert told["vibevoice.batching"] == ("True", "environment")
    assert told["vibevoice.attention"] == ("sdpa", "dropscribe.toml")
    assert told["vibevoice.quantize"][1] == "default"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[vibevoice]\nattenton = 1", r"unknown setting vibevoice\.attenton; did you mean vibevoice\.attention\?"),
        ("[vibevoice]\nbatching = 2", r"vibevoice\.batching in dropscribe\.toml = 2: input should be a valid boolean"),
        ("gpu_share = 2", r"gpu_share in dropscribe\.toml = 2: input should be less than"),
        ("[whisper]\nattention = 1", r"unknown setting whisper\.attention"),
        ("[vibevoyce]\nattention = 1", r"unknown setting vibevoyce"),
        ("vibevoice = 3", r"unknown setting vibevoice;"),
        ("own = 3", r"unknown setting own;"),
    ],
)
def test_what_is_wrong_in_the_table_of_an_engine_is_named(elsewhere: Path, text: str, says: str) -> None:
    (elsewhere / "dropscribe.toml").write_text(text)
    with pytest.raises(SettingsError, match=says):
        settings_loading.load({})


def test_an_empty_table_of_an_engine_without_settings_is_well(elsewhere: Path) -> None:
    (elsewhere / "dropscribe.toml").write_text("[whisper]\n")
    assert settings_loading.load({}) == settings_loading.load({"DROPSCRIBE_CONTEXT": ""})


def test_settings_of_an_engine_can_be_replaced_and_are_kept_by_copies() -> None:
    changed = settings_loading.load({}).having(VibeVoiceSettings(batching=False)).having(ScriptedSettings(script="{}"))
    copy = changed.model_copy(update={"engine": "vibevoice"})
    assert (copy.of(VibeVoiceSettings).batching, copy.of(ScriptedSettings).script) == (False, "{}")
    assert settings.Settings().of(VibeVoiceSettings).batching
    assert changed.digest() != settings_loading.load({}).digest()  # by the script


def test_no_name_of_a_setting_can_be_mistaken_for_another() -> None:
    names = [*settings.fields(), *old_names.SETTINGS]
    assert len(set(map(settings.variable, names))) == len(names)


def test_reading_settings_imports_no_engine() -> None:
    code = "import sys; from dropscribe.core.settings_loading import load; load({}); print(*sys.modules)"
    seen = set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())
    assert "dropscribe.models.vibevoice.settings" in seen
    assert seen.isdisjoint({"numpy", "torch", "av", "ctranslate2", "onnxruntime", "dropscribe.models.registry"})


def test_a_broken_file_is_named(elsewhere: Path) -> None:
    (elsewhere / "dropscribe.toml").write_text("engine = \n")
    with pytest.raises(SettingsError, match=r"dropscribe\.toml.*fix"):
        settings_loading.load({})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ENGINE", "whispr"),
        ("STABLE_SECONDS", "-1"),
        ("OUTPUTS", "txt,pdf"),
        ("LOST_ATTEMPTS", "many"),
        ("GPU_SHARE", "0"),
        ("GPU_SHARE", "1.1"),
        ("VIBEVOICE_BATCHING", "perhaps"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"DROPSCRIBE_{variable}"):
        settings_loading.load({f"DROPSCRIBE_{variable}": value})


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert settings_loading.load({"DROPSCRIBE_REDIS_URL": "", "DROPSCRIBE_STABLE_SECONDS": ""}).stable_seconds == 10


def test_paths_are_absolute_and_may_begin_with_the_home(elsewhere: Path) -> None:
    found = settings_loading.load({"DROPSCRIBE_HOTWORDS": "terms.txt", "DROPSCRIBE_SPOOL": "~/spool"})
    assert found.hotwords == elsewhere / "terms.txt"
    assert found.spool == Path.home() / "spool"


def test_secrets_are_masked() -> None:
    environment = {"DROPSCRIBE_DATABASE_URL": "postgresql://ann:secret@db/x", "DROPSCRIBE_REDIS_URL": "redis://:pw@r:1"}
    shown = {
        origin.name: origin.value
        for origin in settings_loading.origins(settings_loading.load(environment), environment)
    }
    assert shown["database_url"] == "postgresql://ann:***@db/x"
    assert shown["redis_url"] == "redis://:***@r:1"
    assert (
        mask("sentinel://a,b:1/0?sentinel_password=pw&master=m") == "sentinel://a,b:1/0?sentinel_password=***&master=m"
    )


def test_the_model_that_is_not_named_is_left_to_the_engine() -> None:
    assert settings_loading.load({}).model == ""
    assert (
        settings_loading.load({}).digest() == settings_loading.load({"DROPSCRIBE_MODEL": settings.FIRST_MODEL}).digest()
    )
    named = settings_loading.load({"DROPSCRIBE_ENGINE": "whisper", "DROPSCRIBE_MODEL": "openai/whisper-tiny"})
    assert named.model == "openai/whisper-tiny"


def test_a_language_is_a_code() -> None:
    assert settings_loading.load({"DROPSCRIBE_LANGUAGE": "de"}).language == "de"
    with pytest.raises(SettingsError, match="DROPSCRIBE_LANGUAGE"):
        settings_loading.load({"DROPSCRIBE_LANGUAGE": "German!"})


def test_only_what_shapes_a_transcript_changes_the_digest() -> None:
    plain = settings_loading.load({})
    assert plain.digest() == settings_loading.load({"DROPSCRIBE_OUTPUTS": "txt", "DROPSCRIBE_HOME": "/x"}).digest()
    assert plain.digest() != settings_loading.load({"DROPSCRIBE_CONTEXT": "Ada"}).digest()
    assert plain.digest("Ada") == settings_loading.load({"DROPSCRIBE_CONTEXT": "Ada"}).digest()
    assert plain.digest() != settings_loading.load({"DROPSCRIBE_ENGINE": "scripted"}).digest()
    assert plain.digest() != settings_loading.load({"DROPSCRIBE_LANGUAGE": "de"}).digest()


def test_known_voices_are_off_until_asked_for_and_then_shape_the_transcript() -> None:
    plain = settings_loading.load({})
    assert not plain.known_voices
    assert plain.digest() == settings_loading.load({"DROPSCRIBE_KNOWN_VOICES": "false"}).digest()
    assert plain.digest() != settings_loading.load({"DROPSCRIBE_KNOWN_VOICES": "true"}).digest()


def test_the_file_has_tables_for_folders(tmp_path: Path) -> None:
    file = tmp_path / "dropscribe.toml"
    file.write_text('[folders."/srv/hr"]\nresults = "x"\nallow = ["engine"]\n[vibevoice]\nattention = "sdpa"')
    found = settings_loading.load({"DROPSCRIBE_CONFIG": str(file), "DROPSCRIBE_HOME": str(tmp_path)})
    assert found.folders == {"/srv/hr": {"results": "x", "allow": ["engine"]}}
    for wrong in ('[folders."hr"]\nresults = "x"', "folders = 1", '[folders]\n"/srv" = 1'):
        file.write_text(wrong)
        with pytest.raises(SettingsError, match="whole path"):
            settings_loading.load({"DROPSCRIBE_CONFIG": str(file), "DROPSCRIBE_HOME": str(tmp_path)})


@pytest.mark.parametrize("turned_off", ["ssl_cert_reqs=none", "ssl_cert_reqs=", "ssl_check_hostname=false"])
def test_a_redis_url_does_not_turn_off_the_check_of_certificates(turned_off: str) -> None:
    with pytest.raises(SettingsError, match="must not turn off the check of its certificate"):
        settings_loading.load({"DROPSCRIBE_REDIS_URL": f"rediss://localhost/0?ssl_ca_certs=/ca.pem&{turned_off}"})
    assert settings_loading.load({"DROPSCRIBE_REDIS_URL": "rediss://localhost/0?ssl_cert_reqs=required"}).redis_url
