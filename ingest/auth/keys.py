"""API keys, kept as hashes in a file.

The commands change the file, and running workers read it again. A key is `es_<id>_<secret>`. The
id finds the record, and the whole key is compared by its SHA-256. A plain SHA-256 is enough because
the secret has 256 random bits. The key itself is shown once and is not kept.
"""

import fcntl
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

import msgspec

from storage.files import replacing

Scope = Literal["ingest", "query", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
CHECK_EVERY_S = 1.0
"""How often a worker checks, in seconds, whether the file has changed."""

KEY = re.compile(r"es_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NOBODY = sha256(b"").hexdigest()


class KeysError(Exception):
    """The file can't be used, or the key does not exist. The text says which."""


class NoSuchKeyError(KeysError):
    """There is no valid key with this id."""

    def __init__(self, key_id: str) -> None:
        """Name the id and the command that lists the keys."""
        super().__init__(
            f"There is no key {key_id}, or it was revoked. List the keys: event-stream keys list"
        )


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record of a key.

    Attributes:
        id: the part of the key that finds this record.
        name: chosen by the operator.
        hash: SHA-256 of the whole key, in hex.
        scopes: the operations that the key allows.
        origins: the browser origins that may use the key; empty if it is not for browsers.
        requests_rate: the key's own limit, such as `100/second`; "" for the limit of the settings.
        events_rate: the same for events.
        created_s: Unix time in seconds.
        revoked_s: Unix time in seconds; None while the key is valid.
    """

    id: str
    name: str
    hash: str
    scopes: tuple[Scope, ...]
    origins: tuple[str, ...] = ()
    requests_rate: str = ""
    events_rate: str = ""
    created_s: int = 0
    revoked_s: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether the key has not been revoked."""
        return self.revoked_s is None


def new_key(
    name: str,
    scopes: Sequence[Scope],
    *,
    origins: Sequence[str] = (),
    requests_rate: str = "",
    events_rate: str = "",
) -> tuple[str, Key]:
    """Make a key. Returns the key as text, and its record."""
    key_id = secrets.token_hex(6)
    text = f"es_{key_id}_{secrets.token_urlsafe(32)}"
    record = Key(
        id=key_id,
        name=name,
        hash=_hash(text),
        scopes=tuple(scopes),
        origins=tuple(origins),
        requests_rate=requests_rate,
        events_rate=events_rate,
        created_s=int(time.time()),
    )
    return text, record


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


class KeyFile:
    """The file of keys, as the commands use it. A lock allows one change at a time."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`, which need not exist."""
        self._path = path

    def read(self) -> list[Key]:
        """Return all keys, revoked ones included; none if there is no file.

        Raises:
            KeysError: the file can't be read.
        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Key])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            raise KeysError(f"The keys in {self._path} can't be read: {error}") from error

    def add(self, key: Key) -> None:
        """Add a key.

        Raises:
            KeysError: the file can't be read or changed.
        """
        with self._changing() as keys:
            keys.append(key)

    def revoke(self, key_id: str) -> Key:
        """Revoke a key.

        Raises:
            KeysError: there is no valid key with this id, or the file can't be changed.
        """
        with self._changing() as keys:
            for index, key in enumerate(keys):
                if key.id == key_id and key.is_active:
                    keys[index] = msgspec.structs.replace(key, revoked_s=int(time.time()))
                    return key
        raise NoSuchKeyError(key_id)

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.with_suffix(".lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys = self.read()
                yield keys
                self._write(keys)
        except OSError as error:
            raise KeysError(f"The keys in {self._path} can't be changed: {error}") from error

    def _write(self, keys: list[Key]) -> None:
        with replacing(self._path, mode=0o600) as file:
            file.write(msgspec.json.format(msgspec.json.encode(keys), indent=1))


class KeyRing:
    """The keys as a worker sees them: the file's contents, at most one second old.

    After the first key was seen, requests need a key, even if all keys are revoked or the file is
    deleted.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the keys.

        Args:
            path: of the file.
            clock: monotonic, in seconds.

        Raises:
            KeysError: the file exists and can't be read.
        """
        self._file = KeyFile(path)
        self._path = path
        self._clock = clock
        self._checked_s = clock()
        self._state = self._stat()
        self._keys = {key.id: key for key in self._file.read()}
        self._required = bool(self._keys)

    @property
    def required(self) -> bool:
        """Whether requests need a key."""
        self._refresh()
        return self._required

    def find(self, text: str) -> Key | None:
        """Return the valid key for `text`, or None. A wrong key takes as long as a valid one."""
        self._refresh()
        match = KEY.fullmatch(text)
        key = self._keys.get(match[1]) if match is not None else None
        is_same = hmac.compare_digest(_hash(text), key.hash if key is not None else _NOBODY)
        return key if key is not None and is_same and key.is_active else None

    def origins(self) -> set[str]:
        """Return the origins of all valid keys for browsers."""
        self._refresh()
        return {o for key in self._keys.values() if key.is_active for o in key.origins}

    def _refresh(self) -> None:
        now_s = self._clock()
        if now_s - self._checked_s < CHECK_EVERY_S:
            return
        self._checked_s = now_s
        state = self._stat()
        if state is None or state == self._state:
            return
        try:
            self._keys = {key.id: key for key in self._file.read()}
        except KeysError:
            return  # the old keys stay, and the next check tries again
        self._state = state
        self._required = self._required or bool(self._keys)

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
