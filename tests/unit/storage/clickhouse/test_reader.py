"""The reader when storage does not answer."""

import asyncio

import pytest
from clickhouse_connect.driver.client import Client

from storage.clickhouse.reader import BREAK_S, QueryLimits, Reader
from storage.errors import UnavailableError


def test_storage_that_does_not_answer_is_left_alone_for_a_moment() -> None:
    attempts, now_s = 0, 0.0

    def connect() -> Client:
        nonlocal attempts
        attempts += 1
        raise UnavailableError("nobody is there")

    reader = Reader(connect, clients=2, limits=QueryLimits(1), clock=lambda: now_s)

    def ask() -> None:
        with pytest.raises(UnavailableError):
            asyncio.run(reader.query("SELECT 1", {}))

    for _ in range(5):
        ask()
    assert attempts == 1
    now_s += BREAK_S
    ask()
    assert attempts == 2
    reader.close()
