"""Stop a running query by closing its connection.

The driver sets `cancel_http_readonly_queries_on_client_close`. With this setting a server stops a
read-only query when its client disconnects. Unlike KILL QUERY, this requires no right, and it
reaches the right server behind a load balancer.
"""

import socket
from collections.abc import Callable
from weakref import WeakSet

import urllib3
from clickhouse_connect.driver.client import Client
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

READ_ONLY = {"readonly": 2}
"""Settings of a client whose queries can be stopped. It may only read data and change settings."""


class Connections:
    """All connections of one client.

    Attributes:
        can_close: whether the client has connections. A client of the embedded engine has none.
    """

    def __init__(self, client: Client) -> None:
        """Close the connections that `client` has, and track those that it opens from now on."""
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._closed = False
        pools = getattr(client, "http", None)
        self.can_close = isinstance(pools, urllib3.PoolManager)
        if isinstance(pools, urllib3.PoolManager):
            client.close_connections()
            pools.pool_classes_by_scheme = _pool_classes(self._opened)

    def close(self) -> None:
        """Close all connections. A running query fails at once, and the client can't be used again.

        Any thread may call it.
        """
        self._closed = True
        for each in list(self._sockets):
            _shut_down(each)

    def _opened(self, connection: HTTPConnection) -> None:
        if self._closed:  # the driver reconnects, and would send the query again
            connection.close()
            raise NewConnectionError(connection, "the query was stopped")
        self._sockets.add(connection.sock)


def _shut_down(each: socket.socket) -> None:
    try:
        # SSLSocket.shutdown is not safe while another thread uses the socket.
        socket.socket.shutdown(each, socket.SHUT_RDWR)
    except OSError:
        return  # the other thread has just closed it


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
