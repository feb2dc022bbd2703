"""Where pictures are kept: ``file:DIR`` or ``s3://BUCKET/PREFIX?endpoint=…&region=…``, read and held against the world.

Credentials never stand in the file: those of an object store come from the environment, by the names that every client
of such stores knows. Without them the client looks where it runs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.config.units import http_url
from gateway.config.variables import Variables
from gateway.core.table import AssetSettings, ObjectStore, Secret

FORM: Final[dict[str, Any]] = {"type": "string", "pattern": r"^(file:.+|s3://.+)$|\$\{.*\}"}
ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, REGION = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
)

_FILE: Final = "file:"
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_REGION: Final = re.compile(r"[a-z0-9-]{1,40}")
_OPTIONS: Final = frozenset({"endpoint", "region"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory, relative to the data directory unless it is absolute."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A place in an object store, without what opens it."""

    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None


def store(value: object) -> Directory | Bucket:
    """Read ``storage.assets``. Raises ``ValueError`` with what is wrong, as pydantic wants it."""
    if isinstance(value, str) and value.startswith(_FILE):
        return _directory(unquote(value.removeprefix(_FILE)))
    if isinstance(value, str) and value.startswith("s3://"):
        return _bucket(value)
    raise ValueError("must be file:DIR or s3://BUCKET/PREFIX?endpoint=URL&region=NAME")


def _directory(path: str) -> Directory:
    path = path.removeprefix("//") if path.startswith("///") else path
    if not path or not path.isprintable() or "\ufffd" in path or "?" in path or path.startswith("//"):
        raise ValueError("must name a directory, as file:assets does")
    return Directory(path=path)


def _bucket(value: str) -> Bucket:
    parts = urlsplit(value)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix = parts.path.strip("/")
    if "@" in parts.netloc:
        raise ValueError(f"must not carry credentials: they come from {ACCESS_KEY} and {SECRET_KEY}")
    if not _BUCKET.fullmatch(parts.netloc):
        raise ValueError("must name a bucket: lower-case letters, digits, dots and dashes")
    if prefix and not (_PREFIX.fullmatch(prefix) and ".." not in prefix.split("/") and "." not in prefix.split("/")):
        raise ValueError("has a prefix that is none: letters, digits, dots, dashes and slashes")
    if parts.fragment or not options.keys() <= _OPTIONS:
        raise ValueError("takes the options endpoint and region, and no others")
    if "region" in options and not _REGION.fullmatch(options["region"]):
        raise ValueError("has a region that is none")
    endpoint = http_url(options["endpoint"]) if "endpoint" in options else None
    return Bucket(bucket=parts.netloc, prefix=prefix, endpoint=endpoint, region=options.get("region"))


def settings(
    where: Directory | Bucket, data_dir: Path, env: Mapping[str, str], *, ttl_s: float, most_bytes: int
) -> AssetSettings:
    """Build the settings of the store; raises ``ValueError`` for a secret's file that cannot be read."""
    if isinstance(where, Directory):
        return AssetSettings(store=str(data_dir.absolute() / where.path), ttl_s=ttl_s, most_bytes=most_bytes)
    given = Variables(env=env)
    secrets = {name: _secret(given, name) for name in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN)}
    bucket = ObjectStore(
        bucket=where.bucket,
        prefix=where.prefix,
        endpoint=where.endpoint,
        region=where.region or given.get(REGION),
        access_key=secrets[ACCESS_KEY],
        secret_key=secrets[SECRET_KEY],
        session_token=secrets[SESSION_TOKEN],
    )
    return AssetSettings(store=bucket, ttl_s=ttl_s, most_bytes=most_bytes)


def _secret(given: Variables, name: str) -> Secret | None:
    text = given.secret(name)
    return None if text is None else Secret(text)
