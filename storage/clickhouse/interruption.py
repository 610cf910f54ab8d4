"""Stop a query that is running, by closing the connection that it runs on.

The driver sets `cancel_http_readonly_queries_on_client_close`: with it a server stops a read-only
query whose client is gone. Unlike KILL QUERY this needs no right, and it reaches the right server
behind a load balancer.
"""

import socket
from collections.abc import Callable
from weakref import WeakSet

import urllib3
from clickhouse_connect.driver.client import Client
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

READ_ONLY = {"readonly": 2}
"""The setting of a client whose queries may be stopped so: reads only, with settings of its own."""


class Connections:
    """The connections of one client, which is of no use any more once they are closed."""

    def __init__(self, client: Client) -> None:
        """client: its connections so far are closed; the embedded engine has none."""
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._closed = False
        pools = getattr(client, "http", None)
        self.can_close = isinstance(pools, urllib3.PoolManager)
        if isinstance(pools, urllib3.PoolManager):
            client.close_connections()
            pools.pool_classes_by_scheme = _pool_classes(self._opened)

    def close(self) -> None:
        """Whoever waits on one of them learns at once that it is gone. From any thread."""
        self._closed = True
        for each in list(self._sockets):
            _shut_down(each)

    def _opened(self, connection: HTTPConnection) -> None:
        if self._closed:  # the driver would send the query again
            connection.close()
            raise NewConnectionError(connection, "the query was stopped")
        self._sockets.add(connection.sock)


def _shut_down(each: socket.socket) -> None:
    try:
        # Not SSLSocket's own, which is not made for two threads.
        socket.socket.shutdown(each, socket.SHUT_RDWR)
    except OSError:
        return  # it was closed meanwhile


def _pool_classes(
    opened: Callable[[HTTPConnection], None],
) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            opened(self)

    class Encrypted(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            opened(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
