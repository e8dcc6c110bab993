"""S3: what each library needs to reach it, and whether the buckets of the settings answer."""

import os
import re
from typing import Any

from lake.settings import Settings

CLIENT_CONFIG = {"connect_timeout": 5, "read_timeout": 30, "retries": {"total_max_attempts": 2}}  # of botocore

_DELTA_RS_STEP = re.compile(r"\s*\x1b\[31m↳\x1b\[0m\s*")


class S3Error(RuntimeError):
    """A bucket of the settings cannot be used; the message says which and why in one sentence."""


def is_remote(uri: str) -> bool:
    """Whether a URI points at an object store."""
    return uri.startswith("s3://")


def delta_options(settings: Settings) -> dict[str, str]:
    """Options of delta-rs' S3 store: the endpoint of the settings, the usual `AWS_*` variables for the rest."""
    options = {
        name: os.environ[name]
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION")
        if name in os.environ
    }
    options["AWS_CONDITIONAL_PUT"] = "etag"  # safe with several writers without a lock table
    options |= {"connect_timeout": "5s", "retry_timeout": "10s", "max_retries": "10"}  # its own patience is minutes
    if settings.s3_endpoint_url:
        options["AWS_ENDPOINT_URL"] = settings.s3_endpoint_url
        options["AWS_ALLOW_HTTP"] = str(settings.s3_endpoint_url.startswith("http://")).lower()
    return options


def client_options(settings: Settings) -> dict[str, Any]:
    """Arguments of a botocore client, as boto3 and s3fs make one."""
    return {"endpoint_url": settings.s3_endpoint_url, "region_name": os.environ.get("AWS_REGION")}


def check(settings: Settings) -> None:
    """Ask each bucket of the settings for one key.

    Raises
    ------
    S3Error : no answer, no such bucket, or no access.
    """
    for field in ("lake_uri", "landing_uri", "files_uri"):
        uri = getattr(settings, field)
        if is_remote(uri):
            check_bucket(f"LAKEHOUSE_{field.upper()}", uri, settings)


def one_line(message: str) -> str:
    """A message of delta-rs, which tells its causes one below the other, as one line."""
    return _DELTA_RS_STEP.sub(": ", message).strip()


def check_bucket(variable: str, uri: str, settings: Settings) -> None:
    """Ask the bucket of a URI for one key; `variable` is what a person would have to correct. Raises `S3Error`."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    try:
        client = boto3.client("s3", config=Config(**CLIENT_CONFIG), **client_options(settings))
        client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except NoCredentialsError:
        raise S3Error(f"{variable} is {uri}, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set.") from None
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            reason = f"S3 has no bucket '{bucket}': create it, or correct {variable} ({uri})."
        else:
            reason = f"S3 refuses bucket '{bucket}' of {variable} ({code}): check AWS_ACCESS_KEY_ID and its secret."
        raise S3Error(reason) from None
    except BotoCoreError as error:
        endpoint = f"LAKEHOUSE_S3_ENDPOINT_URL {settings.s3_endpoint_url}" if settings.s3_endpoint_url else "AWS"
        raise S3Error(f"{endpoint} does not answer for bucket '{bucket}' ({type(error).__name__}).") from None
