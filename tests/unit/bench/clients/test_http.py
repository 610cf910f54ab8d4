"""The load generator's client: what it says of a slow server is true."""

import asyncio

from bench.clients.http import Replies, post, send_all

REPLY = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"


async def against_a_server(*, takes_s: float, requests: int, per_s: float | None) -> Replies:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            await asyncio.sleep(takes_s)
            writer.write(REPLY)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        sent = iter([post("/", b"{}", host="127.0.0.1")] * requests)
        return await send_all(sent, host="127.0.0.1", port=port, connections=1, per_s=per_s)


def test_without_a_pace_a_request_takes_as_long_as_its_reply() -> None:
    replies = asyncio.run(against_a_server(takes_s=0.02, requests=10, per_s=None))
    assert replies.statuses == {201: 10}
    assert min(replies.seconds) >= 0.02


def test_at_a_pace_a_request_has_been_waiting_since_it_was_due() -> None:
    replies = asyncio.run(against_a_server(takes_s=0.02, requests=10, per_s=1_000))
    # The last was due after 9 ms, and nine others of 20 ms each came before it.
    assert max(replies.seconds) >= 10 * 0.02 - 0.009


def test_a_pace_is_kept_when_the_server_is_fast() -> None:
    async def timed() -> float:
        started_s = asyncio.get_running_loop().time()
        await against_a_server(takes_s=0, requests=10, per_s=50)
        return asyncio.get_running_loop().time() - started_s

    assert asyncio.run(timed()) >= 9 / 50
