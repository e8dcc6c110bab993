"""API keys: made, listed, revoked and found in a file that holds only their hashes."""

import hashlib
import hmac
import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from lake.api import ScopeName

PREFIX = "lhk"
RELOAD_SECONDS = 1.0
_NOBODY = hashlib.sha256(secrets.token_bytes()).hexdigest()

logger = logging.getLogger(__name__)


class KeysError(RuntimeError):
    """The file of keys cannot be read, or there is no such key; the message says so in one sentence."""


class Key(BaseModel):
    """What is kept of a key.

    Attributes
    ----------
    id : its public part, by which it is listed, revoked and named in the audit log.
    hash : SHA-256 of the whole key, hexadecimal. Its secret has 256 random bits, so no slow hash is needed.
    """

    id: str
    hash: str
    name: str
    scopes: frozenset[ScopeName]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """valid, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


_KEYS = TypeAdapter(list[Key])


def read(path: Path) -> list[Key]:
    """All keys that were ever made, oldest first; none where there is no file.

    Raises
    ------
    KeysError : the file is not one of keys.
    """
    try:
        return _KEYS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise KeysError(f"the file of keys {path} cannot be read: {type(error).__name__}") from error


def add(path: Path, name: str, scopes: Iterable[ScopeName], lifetime: timedelta | None) -> str:
    """Make a key; this is the only time that it is seen whole.

    Returns
    -------
    The key, `lhk_<id>_<secret>`.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    public = secrets.token_hex(6)
    whole = f"{PREFIX}_{public}_{secrets.token_urlsafe(32)}"
    key = Key(
        id=public,
        hash=_digest(whole),
        name=name,
        scopes=frozenset(scopes),
        created_at=now,
        expires_at=None if lifetime is None else now + lifetime,
    )
    _write(path, [*read(path), key])
    return whole


def revoke(path: Path, public: str) -> Key:
    """End a key at once; its line stays, so that the audit log can be read.

    Raises
    ------
    KeysError : there is no such key, or it is revoked already.
    """
    known = read(path)
    for key in known:
        if key.id == public and key.revoked_at is None:
            key.revoked_at = datetime.now(UTC).replace(microsecond=0)
            _write(path, known)
            return key
    raise KeysError(f"there is no key {public} to revoke")


class Keyring:
    """The keys of a file, which is read anew within a second of its change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._looked_at = time.monotonic()
        self._keys: dict[str, Key] = {}
        self._load()

    def find(self, whole: str) -> Key | None:
        """The key that `whole` is, valid or not; compared in constant time, whether its id is known or not."""
        if time.monotonic() - self._looked_at > RELOAD_SECONDS:
            self._looked_at = time.monotonic()
            try:
                self._load()
            except KeysError as error:  # the keys that were known go on
                logger.error("%s", error)
        key = self._keys.get(whole[len(PREFIX) + 1 :].partition("_")[0])
        same = hmac.compare_digest(_digest(whole), key.hash if key else _NOBODY)
        return key if same else None

    def _load(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
        except FileNotFoundError:
            stamp = None
        if stamp != self._stamp:
            self._keys = {key.id: key for key in read(self._path)}
            self._stamp = stamp
        elif stamp is None:
            self._keys = {}


def _digest(whole: str) -> str:
    return hashlib.sha256(whole.encode(errors="replace")).hexdigest()


def _write(path: Path, keys: list[Key]) -> None:
    """Whole or not at all, and for the owner's eyes only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w") as file:
        json.dump(_KEYS.dump_python(keys, mode="json"), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
