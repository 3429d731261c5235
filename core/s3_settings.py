"""Pure: the settings of buckets. Credentials are not among them: they come from where AWS's own tools have them."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from dropscribe.core.safe_text import printable
from dropscribe.core.settings_groups import SettingsGroup

# A name or an address, perhaps with a port and a path.
ENDPOINT = re.compile(r"(https?://([\w.-]+|\[[0-9A-Fa-f:.]+])(:[1-9]\d{0,4})?(/[\w.~/-]*)?)?")


def _endpoint(value: str) -> str:
    """The value, if it is empty or the address of a server. Raises ValueError.

    >>> _endpoint("https://minio.example.org:9000")
    'https://minio.example.org:9000'
    """
    if not ENDPOINT.fullmatch(value):
        raise ValueError("must be https://HOST or http://HOST, perhaps with a port, and without a user")
    return value


def _prefix(value: str) -> str:
    """The value without slashes at its ends, if keys may begin with it. Raises ValueError.

    >>> _prefix("/transcripts/")
    'transcripts'
    """
    cleaned = value.strip("/")
    if printable(cleaned) != cleaned or (cleaned and not all(cleaned.split("/"))) or ".." in cleaned.split("/"):
        raise ValueError("must be a folder of the bucket, such as transcripts, without ..")
    return cleaned


class S3(SettingsGroup):
    """Buckets of S3 and of servers that speak like it. Schedulers and CPU workers have the same."""

    table: ClassVar[str] = "s3"

    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        "", description="server of the buckets: https://minio.example.org:9000; empty: that of AWS"
    )
    region: str = Field(
        "", pattern="^[a-z0-9-]*$", description="region of the buckets; empty: that of the AWS profile, else us-east-1"
    )
    results: Annotated[str, AfterValidator(_prefix)] = Field(
        "",
        description="folder of the same bucket under which transcripts are written, each below the folder of its "
        "recording; empty: beside the recordings",
    )
    list_seconds: float = Field(
        60, gt=0, description="time between two listings of a bucket; each request lists a thousand objects"
    )
