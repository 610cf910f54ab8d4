"""Decompress bodies up to a limit, so that a decompression bomb costs no more than the limit."""

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli

from ingest.errors import MediaTypeError, PayloadError, TooLargeError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class _Decompressor(Protocol):
    """Decompressor of one stream: the methods that zlib and zstd share."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Deflate:
    """Decompressor of `deflate`.

    The RFC demands a zlib header, but some clients send raw deflate. The first byte tells.
    """

    def __init__(self) -> None:
        self._inner: _Decompressor | None = None

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        # RFC 1950: the low nibble of a zlib header is 8. In raw deflate this would be a stored
        # block with reserved bits, which encoders do not write.
        self._inner = zlib.decompressobj(15 if data[:1] and data[0] & 0x0F == 8 else -15)
        return self._inner.decompress(data, max_length)

    @property
    def eof(self) -> bool:
        return self._inner is not None and self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data if self._inner else b""


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self.unused_data = b""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        out: bytes = self._inner.process(data, output_buffer_limit=max_length)
        while len(out) < max_length and not self._inner.is_finished():
            more: bytes = self._inner.process(b"", output_buffer_limit=max_length - len(out))
            if not more:
                break
            out += more
        return out

    @property
    def eof(self) -> bool:
        try:
            return bool(self._inner.is_finished())
        except brotli.error:  # the library can't tell after an error
            return False


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "x-gzip": lambda: zlib.decompressobj(31),
    "deflate": _Deflate,
    "zstd": zstd.ZstdDecompressor,
    "br": _Brotli,
}
ENCODINGS = tuple(_DECOMPRESSORS)
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
"""First bytes of gzip (RFC 1952) and zstd (RFC 8878). Brotli has none."""
_CONCATENATED = ("gzip", "x-gzip", "zstd")
"""Encodings of which a body may have several streams, one after the other."""


def decompress(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Decompress a body.

    Args:
        body: as sent.
        encoding: the Content-Encoding; `""` and `identity` mean that the body is not compressed.
        bytes_max: limit of the decompressed body, in bytes.

    Raises:
        MediaTypeError: the encoding is unknown, or there are several.
        PayloadError: the data is corrupt or cut off.
        TooLargeError: the decompressed body is larger than the limit.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _DECOMPRESSORS:
        supported = ", ".join(ENCODINGS)
        raise MediaTypeError(
            f"Content-Encoding must be only one of {supported}, not {encoding[:100]!r}"
        )
    out, rest = b"", body
    while True:
        stream = _DECOMPRESSORS[encoding]()
        try:
            part = stream.decompress(rest, bytes_max + 1 - len(out))
        except (zlib.error, zstd.ZstdError, brotli.error) as error:
            ended = stream.eof or len(rest) < len(body)
            raise PayloadError(_explain(encoding, body, ended=ended)) from error
        out = out + part if out else part
        if len(out) > bytes_max:
            raise TooLargeError(f"Body is larger than {bytes_max} bytes when decompressed")
        if not stream.eof:
            ended = len(rest) < len(body) and looks_compressed(rest) is None
            raise PayloadError(_explain(encoding, body, ended=ended, cut=True))
        rest = stream.unused_data
        if not rest:
            return out
        if encoding not in _CONCATENATED:
            raise PayloadError(_explain(encoding, body, ended=True))


def looks_compressed(body: bytes) -> str | None:
    """Guess the Content-Encoding of a body from its first bytes; None if it has none."""
    if body[:1] == b"\x78" and int.from_bytes(body[:2]) % 31 == 0:
        return "deflate"  # RFC 1950 with the usual window; JSON never begins with "x"
    return next((name for magic, name in _MAGIC if body.startswith(magic)), None)


def _explain(encoding: str, body: bytes, *, ended: bool = False, cut: bool = False) -> str:
    """Explain why a body can't be decompressed.

    Args:
        encoding: the Content-Encoding.
        body: as sent.
        ended: whether there is more data after the end of the stream.
        cut: whether the stream has no end.
    """
    if ended:
        return f"Body has data after the end of its {encoding} stream"
    if not body:
        return f"Body is empty, not {encoding}"
    other = looks_compressed(body)
    if other is not None and other != encoding.removeprefix("x-"):
        return f"Body is not valid {encoding}: it seems to be {other}"
    if body.lstrip()[:1] in (b"{", b"["):
        return f"Body is not valid {encoding}: it seems to be JSON that is not compressed"
    if cut:
        return f"Body is cut off: the {encoding} stream has no end"
    if encoding == "br":  # the library does not tell these two errors apart
        return "Body is not valid br, or has data after the end of its br stream"
    return f"Body is not valid {encoding}"
