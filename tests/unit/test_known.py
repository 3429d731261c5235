"""The table of known checkpoints: what the short names stand for, and that none of its entries is incomplete."""

from __future__ import annotations

import re
from pathlib import Path

from dropscribe.core.settings import Settings
from dropscribe.models.checkpoints import known
from dropscribe.models.whisper import spec

DEFAULTS = (spec.DEFAULT, spec.ON_GPUS)


def test_a_short_name_and_its_id_are_one_checkpoint() -> None:
    base = known.find("base")
    assert base is known.find("Systran/faster-whisper-base")
    assert known.identity("base") == "Systran/faster-whisper-base"
    assert base.title == "Systran/faster-whisper-base@ebe41f70"
    assert known.find("mobiuslabsgmbh/faster-whisper-large-v3-turbo") is known.find("turbo")


def test_another_revision_is_another_checkpoint() -> None:
    assert known.find("base", "ebe41f70") is known.find("base")
    assert known.find("base", "main") is None
    assert known.find("openai/whisper-base") is None
    assert known.identity("openai/whisper-base") == "openai/whisper-base"


def test_every_file_has_a_size_and_a_hash_and_every_checkpoint_its_weights() -> None:
    for one in known.WHISPER:
        assert {"config.json", "model.bin", "tokenizer.json"} < {file.name for file in one.files}, one.name
    for one in known.KNOWN:
        assert re.fullmatch(r"[0-9a-f]{40}", one.revision), one.name
        rebuilt = [file for mirror in one.mirrors for made in mirror.rebuilt for file in (made.source, made.file)]
        for file in (*one.files, *rebuilt):
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256), (one.name, file.name)
            assert file.size > 0
            assert Path(file.name).name == file.name


def test_what_a_mirror_makes_takes_the_name_of_the_published_file() -> None:
    [published] = known.SPEAKER_ENCODER.files
    [mirror] = known.SPEAKER_ENCODER.mirrors
    assert known.SPEAKER_ENCODER.forms(published) == [published, mirror.rebuilt[0].file]


def test_the_speaker_encoder_is_found_by_its_short_name_and_is_no_whisper() -> None:
    assert known.find("campplus") is known.SPEAKER_ENCODER
    assert known.SPEAKER_ENCODER not in known.WHISPER


def test_the_setting_names_all_that_know_many_languages_and_no_default_is_english_alone() -> None:
    told = Settings.model_fields["model"].description or ""
    assert all(one.name in told for one in known.WHISPER if one.multilingual)
    assert not any(one.name in told for one in known.WHISPER if not one.multilingual)
    assert all(known.find(name).multilingual for name in DEFAULTS)
