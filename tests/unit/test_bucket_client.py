"""What a server of S3 refuses, told as errors of ours: of the object, or of the whole bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dropscribe.core.bucket_client import Bucket, ObjectTakenError
from dropscribe.core.bucket_names import BucketFolder
from dropscribe.core.errors import BucketAwayError, OutputError, SourceMissingError
from dropscribe.core.s3_settings import S3
from dropscribe.core.settings import Settings
from tests.s3_server import StubbornServer, stubborn_server

FOLDER = BucketFolder("talks", "in")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def server() -> Iterator[StubbornServer]:
    with stubborn_server() as running:
        yield running


@pytest.fixture
def bucket(server: StubbornServer) -> Bucket:
    server.asked.clear()
    return Bucket(Settings().having(S3(endpoint=server.url)), "talks")


AWAY = [
    (403, "InvalidAccessKeyId", "not known there"),
    (403, "SignatureDoesNotMatch", "not known there"),
    (400, "ExpiredToken", "credentials have expired"),
    (403, "RequestTimeTooSkewed", "clocks of this machine"),
    (404, "NoSuchBucket", "there is no such bucket"),
    (400, "AuthorizationHeaderMalformed", "another region"),
    (418, "Teapot", "the server says Teapot"),
]


@pytest.mark.parametrize(("status", "code", "why"), AWAY)
def test_what_is_wrong_with_the_bucket_is_no_fault_of_an_object(server, bucket, status, code, why):
    server.answers = [(status, code)]
    with pytest.raises(BucketAwayError, match=why) as listing:
        bucket.answers(FOLDER)
    with pytest.raises(BucketAwayError, match=why), bucket.opened("in/a.wav"):
        pass
    with pytest.raises(BucketAwayError, match=why):
        bucket.write("in/a.txt", b"text", "text/plain", replaces=None)
    assert "AKIA" not in str(listing.value)


def test_a_server_that_is_not_there_does_not_answer():
    with pytest.raises(BucketAwayError, match="its server does not answer"):
        Bucket(Settings().having(S3(endpoint="http://127.0.0.1:9")), "talks").answers(FOLDER)


def test_a_bucket_that_throttles_is_asked_a_few_times_and_then_waited_for(server, bucket):
    server.answers = [(503, "SlowDown")]
    with pytest.raises(BucketAwayError, match="the server is busy; it is tried again by itself"):
        bucket.answers(FOLDER)
    assert len(server.asked) == 3


def test_denied_is_a_bucket_that_cannot_be_listed_but_one_object_that_cannot_be_read_or_written(server, bucket):
    server.answers = [(403, "AccessDenied")]
    with pytest.raises(BucketAwayError, match="s3://talks/in cannot be listed: access is denied"):
        bucket.answers(FOLDER)
    with pytest.raises(SourceMissingError, match=r"cannot read s3://talks/in/a\\n.wav: access is denied"):
        bucket.head("in/a\n.wav", 10)
    with pytest.raises(OutputError, match=r"cannot write s3://talks/in/a.txt: access is denied"):
        bucket.write("in/a.txt", b"text", "text/plain", replaces=None)


def test_a_content_that_breaks_off_is_not_taken_for_the_object(server, bucket):
    server.answers = [(200, b"short")]
    with pytest.raises(BucketAwayError, match="the server broke off"), bucket.opened("a.wav") as found:
        b"".join(found.blocks())


@pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict")])
def test_a_name_that_somebody_else_took_is_not_written_to(server, bucket, status, code):
    server.answers = [(status, code), (200, b"theirs")]
    with pytest.raises(ObjectTakenError):
        bucket.write("a.txt", b"ours", "text/plain", replaces=None)
    assert server.asked[0][1]["If-None-Match"] == "*"


def test_what_is_there_already_counts_as_written_as_the_answer_to_an_earlier_try_may_be_lost(server, bucket):
    server.answers = [(412, "PreconditionFailed"), (200, b"ours")]
    bucket.write("a.txt", b"ours", "text/plain", replaces="old")
    assert [(method, headers.get("If-Match")) for method, headers in server.asked] == [("PUT", '"old"'), ("GET", None)]


def test_a_server_that_knows_no_conditions_is_asked_without_them(server, bucket):
    server.answers = [(501, "NotImplemented"), (200, b"")]
    bucket.write("a.txt", b"ours", "text/plain", replaces=None)
    assert "If-None-Match" not in server.asked[-1][1]


def test_no_secret_is_sent_or_told(server, bucket):
    server.answers = [(403, "SignatureDoesNotMatch")]
    with pytest.raises(BucketAwayError) as refused:
        bucket.answers(FOLDER)
    assert "wJalrXUtnFEMI" not in str(server.asked) + str(refused.value)


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_keys")
def test_no_credentials_are_told_as_such(server, monkeypatch, tmp_path):
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(BucketAwayError, match="there are no credentials for it"):
        Bucket(Settings().having(S3(endpoint=server.url, region="nowhere-1")), "talks").answers(FOLDER)


# What stands in a file of AWS's own tools, and why the bucket is then away.
UNREADABLE = {
    "a program that gives credentials and fails": (
        "AWS_CONFIG_FILE",
        "[default]\ncredential_process = /bin/false\n",
        "its credentials cannot be loaded",
    ),
    "a program that says no credentials": (
        "AWS_CONFIG_FILE",
        "[default]\ncredential_process = /bin/echo later\n",
        "botocore says",
    ),
    "a program that is not there": (
        "AWS_CONFIG_FILE",
        "[default]\ncredential_process = /nowhere/credentials\n",
        "botocore says FileNotFoundError",
    ),
    "half a key": (
        "AWS_SHARED_CREDENTIALS_FILE",
        "[default]\naws_access_key_id = AKIANEW\n",
        "its credentials are not complete",
    ),
    "half a file": ("AWS_SHARED_CREDENTIALS_FILE", "[default]\naws_acc", "not complete; correct ~/.aws"),
    "no such profile": ("AWS_PROFILE", "", "there is no such AWS profile; correct AWS_PROFILE"),
}


@pytest.mark.parametrize(("variable", "text", "why"), UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.usefixtures("no_keys")
def test_credentials_that_cannot_be_read_are_waited_for_and_read_again(
    server, monkeypatch, tmp_path, variable, text, why
):
    file = tmp_path / "file"
    file.write_text(text)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv(variable, str(file))
    bucket = Bucket(
        Settings().having(S3(endpoint=server.url, region=f"nowhere-{tmp_path.name[-40:].replace('_', '-')}")), "talks"
    )
    for _ in range(2):
        with pytest.raises(BucketAwayError, match=why):
            [*bucket.listed(FOLDER)]
    with pytest.raises(BucketAwayError, match=why), bucket.opened("in/a.wav"):
        pass
    with pytest.raises(BucketAwayError, match=why):
        bucket.content("in/a.txt")
    with pytest.raises(BucketAwayError, match=why):
        bucket.write("in/a.txt", b"text", "text/plain", replaces=None)
    file.write_text("[default]\naws_access_key_id = AKIANEW\naws_secret_access_key = new\n")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    server.answers = [(200, b"<ListBucketResult/>")]
    bucket.answers(FOLDER)


def test_an_error_of_who_reads_an_object_stays_his(server, bucket):
    server.answers = [(200, b"content")]
    with pytest.raises(NotADirectoryError), bucket.opened("in/a.wav") as found:
        Path(__file__, *map(bytes.decode, found.blocks())).read_bytes()


@pytest.mark.usefixtures("no_keys")
def test_credentials_that_expire_are_renewed_where_their_file_is_without_a_restart(server, monkeypatch, tmp_path):
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    file.write_text("[default]\naws_access_key_id = AKIAOLD\naws_secret_access_key = old\n")
    server.asked.clear()
    bucket = Bucket(Settings().having(S3(endpoint=server.url, region="nowhere-3")), "talks")
    server.answers = [(400, "ExpiredToken"), (200, b"<ListBucketResult/>")]
    with pytest.raises(BucketAwayError, match="the credentials have expired; renew"):
        bucket.answers(FOLDER)
    file.write_text("[default]\naws_access_key_id = AKIANEW\naws_secret_access_key = new\n")
    bucket.answers(FOLDER)
    used = [headers["Authorization"].partition("Credential=")[2].partition("/")[0] for _, headers in server.asked]
    assert used == ["AKIAOLD", "AKIANEW"]
