"""One bucket of S3: its objects listed, read and written, by botocore, which is imported when a bucket is used.

Credentials come from where AWS's own tools have them: environment, profile, role of the instance. They are in no
setting, no message and not in the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from dropscribe.core.bucket_names import BucketFolder, moment_of
from dropscribe.core.errors import BucketAwayError, DropscribeError, OutputError, SourceMissingError, UsageError
from dropscribe.core.installing import how_to_install
from dropscribe.core.s3_settings import S3
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings

PAGE = 1000  # objects in one answer: the most that S3 gives
BLOCK = 1 << 20  # bytes
MAX_BYTES = 100_000_000  # of a transcript: a day of talk with times of words takes 60 MB
TRIES = 3  # of a request, by botocore, which waits for a second or two in between
CONNECT_SECONDS, READ_SECONDS = 10, 60
ANY_REGION = "us-east-1"  # where none is set: servers of others take it, and AWS says which one is right


class BucketRefusal(NamedTuple):
    """What an answer of the server means, and what to do. `of_object`: it says nothing of the bucket."""

    why: str
    remedy: str
    of_object: bool = False


_NO_ACCESS = "allow it in the policy of the user or of the bucket (docs/buckets.md)"
_CREDENTIALS = "renew them, and restart the processes that have them in their environment"
_CLOCK = BucketRefusal("the clocks of this machine and of the server differ too much", "set this machine's clock")
_BUSY = BucketRefusal("the server is busy", "it is tried again by itself")
_UNKNOWN = BucketRefusal("these credentials are not known there", "correct the credentials")
_EXPIRED = BucketRefusal("the credentials have expired", _CREDENTIALS)
_LOOK_UP = "see the documentation of that server"
_MISSING = BucketRefusal("it is not there", "check that it is still there", of_object=True)
_DENIED = BucketRefusal("access is denied", _NO_ACCESS, of_object=True)

# By the codes of S3; https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
REFUSALS: Mapping[str, BucketRefusal] = {
    "NoSuchKey": _MISSING,
    "404": _MISSING,
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "InvalidObjectState": BucketRefusal(
        "it is archived in the bucket", "restore it, then retry the job", of_object=True
    ),
    "KeyTooLongError": BucketRefusal("its name is longer than a key may be", "shorten the recording's", of_object=True),
    "NoSuchBucket": BucketRefusal("there is no such bucket", "correct its name, the endpoint or the region"),
    "InvalidAccessKeyId": _UNKNOWN,
    "SignatureDoesNotMatch": _UNKNOWN,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "SlowDown": _BUSY,
    "Throttling": _BUSY,
    "ThrottlingException": _BUSY,
    "TooManyRequests": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "ServiceUnavailable": _BUSY,
    "InternalError": _BUSY,
    "PermanentRedirect": BucketRefusal("it lies in another region", "set [s3] region"),
    "AuthorizationHeaderMalformed": BucketRefusal("it lies in another region", "set [s3] region"),
}
_AS_OTHERS = "try AWS's own tools"
# By the names of botocore's own errors, without a server's word.
FAILURES: Mapping[str, BucketRefusal] = {
    "NoCredentialsError": BucketRefusal("there are no credentials for it", "set them up as for AWS's own tools"),
    "PartialCredentialsError": BucketRefusal("its credentials are not complete", "correct them"),
    "ProfileNotFound": BucketRefusal("there is no such AWS profile", "correct AWS_PROFILE"),
    "CredentialRetrievalError": BucketRefusal("its credentials cannot be loaded", _AS_OTHERS),
    "ConfigParseError": BucketRefusal("a file of AWS's own tools is not complete", "correct ~/.aws"),
    "SSOTokenLoadError": _EXPIRED,
    "UnauthorizedSSOTokenError": _EXPIRED,
    "IncompleteReadError": BucketRefusal("the server broke off", _BUSY.remedy),
    "SSLError": BucketRefusal(
        "the certificate of its server is not trusted", "name the authority's file in AWS_CA_BUNDLE, or fix it"
    ),
}
# Servers of others have no name for each bucket, and some know none of AWS's newer checksums.
OF_OTHERS: Mapping[str, Any] = {"s3": {"addressing_style": "path"}, "request_checksum_calculation": "when_required"}
OF_CREDENTIALS = frozenset(
    {code for code, refusal in REFUSALS.items() if refusal in {_EXPIRED, _UNKNOWN}}
    | FAILURES.keys() - {"SSLError", "IncompleteReadError"}
)
_SILENT = BucketRefusal("its server does not answer", "check the endpoint, the network and the server")
# The server does not write under such conditions, or somebody was quicker.
TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
WITHOUT_CONDITIONS = frozenset({"NotImplemented", "501"})


class ObjectTakenError(OutputError):
    """Another object has that key, or it is not the one any more that was to be replaced."""


class ListedObject(NamedTuple):
    """An object as a listing describes it: size in bytes, `moment` as `moment_of` says."""

    key: str
    size: int
    moment: int
    etag: str


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object while it is read: what it is, which cannot change under the reader, and its content."""

    size: int
    moment: int
    etag: str
    body: Any

    def blocks(self) -> Iterator[bytes]:
        """Its content. Raises BucketAwayError where the server breaks off."""
        read = 0
        while block := self.read(BLOCK):
            read += len(block)
            yield block
        if read != self.size:
            raise BucketAwayError(f"the server broke off after {read} of {self.size} bytes", remedy=_BUSY.remedy)

    def read(self, size: int) -> bytes:
        """The next bytes, `size` at most; none at the end. Raises BucketAwayError."""
        with _told(BucketAwayError, "an object cannot be read to its end"):
            return bytes(self.body.read(size))


class Bucket:
    """One bucket; threads may share it. Methods raise BucketAwayError where it is out of reach."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Asks the server nothing yet. Raises UsageError where botocore is not installed, which no waiting repairs."""
        self._name, self._settings = name, settings.of(S3)
        try:
            import botocore.session  # noqa: F401 (whether it is there)
        except ModuleNotFoundError as error:
            problem = f"buckets need {error.name}, which is not installed"
            raise UsageError(problem, remedy=how_to_install("s3")) from error

    @property
    def _client(self) -> Any:
        """The current client: another one once the credentials of the last were refused.

        Used below `_told` alone, as a new one reads configuration and credentials.
        """
        return _client(self._settings)

    def listed(self, folder: BucketFolder) -> Iterator[list[ListedObject]]:
        """All objects of a folder, page by page; what is denied is a bucket out of reach."""
        with _told(BucketAwayError, f"{folder.url} cannot be listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._name, Prefix=folder.start, PaginationConfig={"PageSize": PAGE}
            )
            for page in pages:
                yield [*map(_listed, page.get("Contents", ()))]

    def answers(self, folder: BucketFolder) -> None:
        """Ask for one object of a folder, to see whether it can be listed."""
        with _told(BucketAwayError, f"{folder.url} cannot be listed"):
            self._client.list_objects_v2(Bucket=self._name, Prefix=folder.start, MaxKeys=1)

    @contextmanager
    def opened(self, key: str) -> Iterator[OpenObject]:
        """The object as it is now. Raises SourceMissingError where it is gone or may not be read."""
        with _told(SourceMissingError, f"cannot read {self._shown(key)}"):
            got = self._client.get_object(Bucket=self._name, Key=key)
        moment = moment_of(int(got["LastModified"].timestamp()), _etag(got))
        with closing(got["Body"]) as body:
            yield OpenObject(got["ContentLength"], moment, _etag(got), body)

    def head(self, key: str, size: int) -> bytes:
        """The first `size` bytes of an object. Raises SourceMissingError."""
        with self.opened(key) as found:
            return found.read(size)

    def content(self, key: str) -> tuple[bytes | None, str] | None:
        """What is there, None where it is too large to be a transcript, and its etag; None for nothing at all."""
        with _told(OutputError, f"cannot read {self._shown(key)}"):
            client = self._client
            try:
                got = client.get_object(Bucket=self._name, Key=key)
            except client.exceptions.NoSuchKey:
                return None
            with closing(got["Body"]) as body:
                return body.read() if got["ContentLength"] <= MAX_BYTES else None, _etag(got)

    def write(self, key: str, data: bytes, kind: str, *, replaces: str | None) -> None:
        """Write an object: in the place of that with the etag `replaces`, or where there is none.

        It may be repeated: what is there already stays. Raises ObjectTakenError, OutputError.
        """
        condition = {"IfMatch": f'"{replaces}"'} if replaces else {"IfNoneMatch": "*"}
        with _told(OutputError, f"cannot write {self._shown(key)}"):
            try:
                self._put(key, data, kind, condition)
            except ObjectTakenError:
                found = self.content(key)  # the answer to an earlier try may have been lost
                if found is None or found[0] != data:
                    raise

    def remove(self, key: str) -> None:
        """Remove an object, if it is there; a bucket that keeps versions has it still. Raises OutputError."""
        with _told(OutputError, f"cannot remove {self._shown(key)}"):
            self._client.delete_object(Bucket=self._name, Key=key)

    def _put(self, key: str, data: bytes, kind: str, condition: Mapping[str, str]) -> None:
        """One request. Raises ObjectTakenError, and what botocore raises."""
        from botocore.exceptions import ClientError

        given = {"Bucket": self._name, "Key": key, "Body": data, "ContentType": kind}
        try:
            self._client.put_object(**given, **condition)
        except ClientError as error:
            code = _code(error)
            if code in TAKEN or (code == "NoSuchKey" and "IfMatch" in condition):
                raise ObjectTakenError(f"{self._shown(key)} was written by somebody else", remedy="move it") from error
            if code not in WITHOUT_CONDITIONS:
                raise
            self._client.put_object(**given)

    def _shown(self, key: str) -> str:
        """The name of an object, for people."""
        return printable(f"s3://{self._name}/{key}")


def _listed(told: Mapping[str, Any]) -> ListedObject:
    """An object of an answer."""
    etag = _etag(told)
    return ListedObject(told["Key"], told["Size"], moment_of(int(told["LastModified"].timestamp()), etag), etag)


def _etag(told: Mapping[str, Any]) -> str:
    """The etag without its quotes; some servers give none in listings."""
    return str(told.get("ETag", "")).strip('"')


def _code(error: Any) -> str:
    """S3's code for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _told(kind: type[DropscribeError], problem: str) -> Iterator[None]:
    """Say an error of botocore as one of ours: of this kind where it is about the object, else BucketAwayError."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as NoConnectionError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        _forget_credentials(_code(error))
        refusal = REFUSALS.get(_code(error)) or BucketRefusal(
            f"the server says {printable(_code(error))[:60]}", _LOOK_UP
        )
        raised = kind if refusal.of_object else BucketAwayError
        raise raised(f"{problem}: {refusal.why}", remedy=refusal.remedy) from error
    except (BotoCoreError, HTTPError, OSError, ValueError) as error:  # the last two from a `credential_process`
        name = type(error).__name__
        _forget_credentials(name)
        is_silent = isinstance(error, NoConnectionError | HTTPClientError | HTTPError)
        refusal = FAILURES.get(name) or (_SILENT if is_silent else BucketRefusal(f"botocore says {name}", _AS_OTHERS))
        raise BucketAwayError(f"{problem}: {refusal.why}", remedy=refusal.remedy) from error


def _forget_credentials(code: str) -> None:
    """Where credentials were refused, the next request is made with those that are there by then."""
    if code in OF_CREDENTIALS:
        _client.cache_clear()


@lru_cache
def _client(settings: S3) -> Any:
    """A client for all buckets of a server. Raises what botocore raises, also for credentials that it cannot read."""
    import botocore.session
    from botocore.config import Config

    logging.getLogger("botocore").setLevel(logging.WARNING)  # at debug it would log session tokens
    config = Config(
        retries={"mode": "standard", "total_max_attempts": TRIES},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        **(OF_OTHERS if settings.endpoint else {}),
    )
    session = botocore.session.get_session()
    region = settings.region or session.get_config_variable("region") or ANY_REGION
    return session.create_client("s3", region_name=region, endpoint_url=settings.endpoint or None, config=config)
