"""Names of buckets and keys: what is one, where transcripts go, and that no key becomes a path of this machine."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core import bucket_names
from dropscribe.core.bucket_names import (
    KEY_BYTES,
    BucketFolder,
    as_stored,
    is_in_bucket,
    local_folder,
    moment_of,
    names_beside,
)
from dropscribe.core.errors import UsageError
from dropscribe.core.s3_settings import S3
from dropscribe.core.settings_errors import validated

KEYS = ["a.wav", "/a.wav", "//a.wav", "a/../../b.wav", "..", "a/./b.wav", "a\nb.wav", "ä" * 500 + ".wav", " .wav", ""]


@pytest.mark.parametrize("name", ["s3://talks", "s3://talks/", "s3:/talks", Path("s3://talks/")])
def test_a_bucket_is_named_with_or_without_a_slash_and_as_a_path_writes_it(name):
    assert BucketFolder.parse(name) == ("talks", "")
    assert as_stored(name) == "s3://talks"
    assert BucketFolder.parse(name).start == ""


@pytest.mark.parametrize(
    "name", ["s3://", "s3:///a", "s3://talks//a", "s3://talks/a//b", "s3://-a", "/srv/a", "s3:talks"]
)
def test_what_names_no_folder_of_a_bucket_is_refused_with_what_to_write(name):
    with pytest.raises(UsageError, match=r"write s3://BUCKET or s3://BUCKET/FOLDER"):
        BucketFolder.parse(name)


def test_folders_of_this_machine_and_of_buckets_are_told_apart():
    named = [Path("/srv/s3:/talks"), Path("s3://talks/a"), Path("s3.d/talks")]
    assert bucket_names.apart(named) == ([named[0], named[2]], [BucketFolder("talks", "a")])


@pytest.mark.parametrize("names", [("s3://a/b", "s3://a/b/"), ("s3://a", "s3://a/b"), ("s3://a/b/c", "s3://a/b")])
def test_a_folder_that_lies_in_another_is_refused(names):
    with pytest.raises(UsageError, match="watch only the outer one"):
        bucket_names.check_apart([*map(BucketFolder.parse, names)])


def test_folders_beside_each_other_are_watched():
    bucket_names.check_apart([*map(BucketFolder.parse, ("s3://a/b", "s3://a/bc", "s3://ab", "s3://a/b-c/d"))])


@given(st.sampled_from(KEYS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_a_key_comes_back_from_the_name_that_the_store_has(path):
    folder = BucketFolder("talks", "in")
    assert f"{folder.url}/{path}".removeprefix("s3://talks/") == folder.key(path)
    assert is_in_bucket(f"{folder.url}/{path}")


@given(st.sampled_from(KEYS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_no_key_leads_out_of_a_folder_of_this_machine(path):
    below = local_folder(path)
    assert not below.is_absolute()
    assert ".." not in below.parts
    assert all(0 < len(part.encode()) <= 255 for part in below.parts)
    assert "\0" not in str(PurePath("/srv", below))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400), st.integers(0, 900))
def test_names_of_transcripts_lie_beside_the_recording_and_are_no_longer_than_a_key_may_be(name, depth):
    folder = "d" * depth + "/"
    tried = names_beside(f"{folder}{name}.wav", folder, "json", "k3v9abcd")
    assert all(one.startswith(folder) and one.endswith(".json") and len(one.encode()) <= KEY_BYTES for one in tried)
    assert tried[-1].endswith(".k3v9abcd.json")


def test_a_recording_without_a_stem_has_names_for_its_transcripts():
    assert names_beside(".wav", "", "txt", "k3v9")[0] == ".wav.txt"


def test_two_contents_of_one_second_are_two_recordings_and_one_content_is_one():
    assert moment_of(1_700_000_000, "a") != moment_of(1_700_000_000, "a-2")
    assert moment_of(1_700_000_000, "a") == moment_of(1_700_000_000, "a")
    assert moment_of(1_700_000_000, "x" * 100_000) // bucket_names.NANOSECONDS == 1_700_000_000


@pytest.mark.parametrize(
    "given",
    [
        {"endpoint": "ftp://a"},
        {"endpoint": "https://user:secret@a"},
        {"endpoint": "https://a?b"},
        {"endpoint": "minio:9000"},
        {"results": "../a"},
        {"results": "a//b"},
        {"results": "a\nb"},
        {"region": "eu west"},
        {"list_seconds": 0},
    ],
)
def test_settings_that_name_no_server_and_no_folder_are_refused(given):
    with pytest.raises(UsageError):
        validated(S3, given)
