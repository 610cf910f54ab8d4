"""Decompression of bodies: all encodings, decompression bombs, streams that are cut off."""

import gzip
import time
import zlib

import brotli
import pytest

from ingest.errors import MediaTypeError, PayloadError, TooLargeError
from ingest.parsing.compression import decompress, zstd

TEXT = b'{"name":"e"}' * 1000


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


COMPRESSED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "zstd": zstd.compress(TEXT),
    "br": brotli.compress(TEXT),
}


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_what_was_compressed_comes_back(encoding: str) -> None:
    assert decompress(COMPRESSED[encoding], encoding.upper(), len(TEXT)) == TEXT


def test_raw_deflate_and_joined_streams_are_taken() -> None:
    assert decompress(raw_deflate(TEXT), "deflate", len(TEXT)) == TEXT
    assert decompress(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 10) == b"ab"


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_one_byte_too_many_is_refused(encoding: str) -> None:
    with pytest.raises(TooLargeError):
        decompress(COMPRESSED[encoding], encoding, len(TEXT) - 1)


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_a_stream_without_its_end_or_with_a_flipped_bit_is_refused(encoding: str) -> None:
    body = COMPRESSED[encoding]
    with pytest.raises(PayloadError):
        decompress(body[:-1], encoding, len(TEXT))
    with pytest.raises(PayloadError):
        decompress(bytes([body[0] ^ 0x41]) + body[1:], encoding, len(TEXT) * 10)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("zstd", zstd.compress),
        ("br", lambda data: brotli.compress(data, quality=1)),
    ],
)
def test_a_bomb_costs_no_more_than_the_cap(encoding: str, compress) -> None:
    bomb = compress(bytes(256 << 20))
    started_s = time.process_time()
    with pytest.raises(TooLargeError):
        decompress(bomb, encoding, 1 << 20)
    assert time.process_time() - started_s < 0.5


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "gzip,br", "\0"])
def test_an_unknown_or_second_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(MediaTypeError, match="gzip"):
        decompress(b"", encoding, 10)
