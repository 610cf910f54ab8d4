"""Content-Encoding: decompression with a cap, so that a bomb costs no more than the cap."""

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
    """One compressed stream; the shape that zlib and zstd share."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Deflate:
    """`deflate` is zlib-wrapped by the RFC and raw from some clients: the first byte tells."""

    def __init__(self) -> None:
        self._inner: _Decompressor | None = None

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        # RFC 1950: the low nibble of a zlib header is 8; in raw deflate it would be a stored
        # block with a reserved bit pattern that encoders do not write.
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
        return bool(self._inner.is_finished())


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "x-gzip": lambda: zlib.decompressobj(31),
    "deflate": _Deflate,
    "zstd": zstd.ZstdDecompressor,
    "br": _Brotli,
}
ENCODINGS = tuple(_DECOMPRESSORS)


def decompress(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body without its Content-Encoding (`""` and `identity` are none).

    Raises MediaTypeError for an unknown or a second encoding, PayloadError for data that is
    corrupt or cut off, TooLargeError for more than `bytes_max` bytes.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _DECOMPRESSORS:
        known = ", ".join(ENCODINGS)
        raise MediaTypeError(f"Content-Encoding must be a single one of {known}")
    out, rest = b"", body
    while True:
        stream = _DECOMPRESSORS[encoding]()
        try:
            part = stream.decompress(rest, bytes_max + 1 - len(out))
        except (zlib.error, zstd.ZstdError, brotli.error) as error:
            raise PayloadError(f"Body is not valid {encoding}") from error
        out = out + part if out else part
        if len(out) > bytes_max:
            raise TooLargeError(f"Body is larger than {bytes_max} bytes when decompressed")
        if not stream.eof:
            raise PayloadError(f"Body is cut off: the {encoding} stream has no end")
        rest = stream.unused_data
        if not rest:  # gzip and zstd streams may be concatenated
            return out
