"""What the doctor concludes from a disk, a driver, a limit, a clock."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from dropscribe.admin.check import checks
from dropscribe.admin.check.checks import Severity
from dropscribe.admin.check.connections import encryption
from dropscribe.admin.check.doctor import CLOCK_SECONDS, clock
from dropscribe.core import gpus
from dropscribe.core.installing import how_to_install
from dropscribe.core.settings_loading import load
from dropscribe.models.checkpoints import hub_cache, known

PLAIN = load({})
VIBEVOICE = load({"DROPSCRIBE_ENGINE": "vibevoice"})
FLEET = load({"DROPSCRIBE_ENGINE": "vibevoice", "DROPSCRIBE_DATABASE_URL": "postgresql://db/x"})


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory that programs are looked for in."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("database", "redis", "warned"),
    [
        ("", "", []),
        ("postgresql://u@localhost/x", "redis://127.0.0.1/0", []),
        ("postgresql://u@/x?host=/run/postgresql", "unix:///run/redis.sock", []),
        ("postgresql://u@db/x?sslmode=verify-full", "rediss://redis/0", []),
        ("postgresql://u@db/x", "redis://10.0.0.7/0", ["database's TLS", "Redis's TLS"]),
        ("postgresql://u@db/x?sslmode=require", "sentinel://a:1,b:1/0?master=m", ["database's TLS", "Redis's TLS"]),
    ],
)
def test_the_doctor_warns_of_services_that_are_reached_without_tls(
    database: str, redis: str, warned: list[str]
) -> None:
    settings = load({"DROPSCRIBE_DATABASE_URL": database, "DROPSCRIBE_REDIS_URL": redis})
    findings = [*encryption(settings)]
    assert [finding.name for finding in findings] == warned
    assert all(finding.level is Severity.WARN and finding.remedy for finding in findings)


def test_a_full_disk_is_noticed_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SPACE_FAIL", 0)
    monkeypatch.setattr(checks, "SPACE_WARN", 0)
    assert checks.space("home", tmp_path / "not" / "made" / "yet").level == Severity.OK
    monkeypatch.setattr(checks, "SPACE_WARN", 1e18)
    assert checks.space("home", tmp_path).level == Severity.WARN
    monkeypatch.setattr(checks, "SPACE_FAIL", 1e18)
    assert checks.space("home", tmp_path).level == Severity.FAIL


def test_a_place_that_cannot_be_written_fails_and_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = checks.space("spool", tmp_path / "file" / "spool")
    assert found.level == Severity.FAIL
    assert "DROPSCRIBE_SPOOL" in found.remedy


@pytest.mark.parametrize(("limit", "level"), [("8192\n", Severity.WARN), ("65536\n", Severity.OK), (None, Severity.OK)])
def test_a_low_limit_of_watches_is_warned_of(
    limit: str | None, level: Severity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "WATCH_LIMIT", tmp_path / "limit")
    if limit:
        (tmp_path / "limit").write_text(limit)
    assert checks.inotify().level == level


@pytest.mark.parametrize(
    ("drift", "level", "word"),
    [
        (0.3, Severity.OK, "ahead"),
        (-CLOCK_SECONDS - 1, Severity.WARN, "behind"),
        (CLOCK_SECONDS + 1, Severity.WARN, "ahead"),
    ],
)
def test_a_clock_that_is_off_is_warned_of(drift: float, level: Severity, word: str) -> None:
    found = clock(drift)
    assert found.level == level
    assert word in found.finding


@pytest.mark.parametrize("here", [False, True])
def test_the_speaker_encoder_is_told_with_whether_its_weights_are_here(
    here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    if here:
        hub_cache.snapshot(known.SPEAKER_ENCODER.id, known.SPEAKER_ENCODER.revision).mkdir(parents=True)
    ending = "is here" if here else "(28.3 MB) is fetched at the first start"
    found = checks.speaker_encoder(PLAIN)
    assert (found.level, found.finding) == (Severity.OK, f"csukuangfj/speaker-embedding-models@0743f301 {ending}")


def test_a_speaker_encoder_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sherpa_onnx", None)  # what import makes of a package that is not there
    found = checks.speaker_encoder(PLAIN)
    assert found.level == Severity.FAIL
    assert "install it: " in found.remedy
    assert found.remedy.endswith(how_to_install("cpu"))
    assert checks.speaker_encoder(FLEET).level == Severity.WARN
