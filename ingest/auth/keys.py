"""API keys: a file of hashes, that a command changes and that running workers read again.

A key is `es_<id>_<secret>`: the id finds its record, and the whole key is compared by its SHA-256,
which is enough for a secret of 256 random bits. The key itself is shown once and kept nowhere.
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
"""How old what a worker knows of the file may be."""

KEY = re.compile(r"es_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NOBODY = sha256(b"").hexdigest()


class KeysError(Exception):
    """The file can't be used, or there is no such key; the text says which."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """origins: of browsers that may use it, of none when it is not for browsers; rates: such as
    `100/second`, '' for those of the settings; times in s since 1970."""

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
        return self.revoked_s is None


def new_key(
    name: str,
    scopes: Sequence[Scope],
    *,
    origins: Sequence[str] = (),
    requests_rate: str = "",
    events_rate: str = "",
) -> tuple[str, Key]:
    """(the key, its record)."""
    key_id = secrets.token_hex(6)
    text = f"es_{key_id}_{secrets.token_urlsafe(32)}"
    record = Key(
        key_id,
        name,
        _hash(text),
        tuple(scopes),
        tuple(origins),
        requests_rate,
        events_rate,
        int(time.time()),
    )
    return text, record


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


class KeyFile:
    """What the commands change, one at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Key]:
        """Every key there ever was; of no file, none. Raises KeysError."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Key])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            raise KeysError(f"The keys in {self._path} can't be read: {error}") from error

    def add(self, key: Key) -> None:
        """Raises KeysError."""
        with self._changing() as keys:
            keys.append(key)

    def revoke(self, key_id: str) -> Key:
        """It is valid no more. Raises KeysError when there is no such key."""
        with self._changing() as keys:
            for place, key in enumerate(keys):
                if key.id == key_id and key.is_active:
                    keys[place] = msgspec.structs.replace(key, revoked_s=int(time.time()))
                    return key
        raise KeysError(f"There is no key {key_id} that is valid: event-stream keys list shows all")

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
    """The keys that a worker knows: those of the file, at most a second ago.

    Once there was a key, requests need one, even when all are revoked or the file is gone.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: monotonic, in s. Raises KeysError."""
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
        """The valid key that `text` is, if it is one. Takes as long for any other."""
        self._refresh()
        match = KEY.fullmatch(text)
        key = self._keys.get(match[1]) if match is not None else None
        is_same = hmac.compare_digest(_hash(text), key.hash if key is not None else _NOBODY)
        return key if key is not None and is_same and key.is_active else None

    def origins(self) -> set[str]:
        """Of all valid keys for browsers."""
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
            return  # what was known stays, and the next second tries again
        self._state = state
        self._required = self._required or bool(self._keys)

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
