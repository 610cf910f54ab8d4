"""A cluster of real servers, without the ZooKeeper that `ON CLUSTER` and replicas need.

A proxy in front of the first server replaces `ON CLUSTER`, and removes `Replicated` from the
engines. Everything else is real: `system.clusters`, macros, Distributed tables over TCP.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.clickhouse.relay import Exchange, Relay, Request
from tests.clickhouse.server import HOST, ClickHouse
from tests.clickhouse.users import DEFAULT_USERS, PASSWORD

CLUSTER = "analytics"
_CHANGE = re.compile(r"\s*(CREATE|ALTER|DROP|TRUNCATE|RENAME|EXCHANGE)\s", re.IGNORECASE)
_ON_CLUSTER = re.compile(r"\sON CLUSTER\s+(`[^`]+`|'[^']+'|[\w.-]+)", re.IGNORECASE)
_REPLICATED = re.compile(r"Replicated(\w*MergeTree)\('[^']*',\s*'[^']*'(?:,\s*)?([^)]*)\)")


def without_on_cluster(statement: str) -> str:
    """Return the statement as `ON CLUSTER` sends it to each server."""
    return _ON_CLUSTER.sub("", statement)


def plain(statement: str) -> str:
    """Return the statement for one server that has no replicas."""
    statement = without_on_cluster(statement)
    statement = _REPLICATED.sub(r"\1(\2)", statement)
    return statement.replace(
        " replicated_deduplication_window", " non_replicated_deduplication_window"
    )


class OnClusterProxy(Relay):
    """Sends statements `ON CLUSTER` to each server in turn, and all others to the first server."""

    def __init__(self, servers: Sequence[ClickHouse], **options: Any) -> None:
        """Create the proxy.

        Args:
            servers: the servers of the cluster. Servers may be added to the list later.
            **options: see `Relay`.
        """
        super().__init__(servers[0].http_port, **options)
        self._servers = servers

    def handle(self, exchange: Exchange) -> None:
        """Send a statement `ON CLUSTER` to each server, until one of them fails."""
        statement = exchange.asked.statement.decode(errors="replace")
        if not (_CHANGE.match(statement) and _ON_CLUSTER.search(statement)):
            super().handle(exchange)
            return
        request = _with_statement(exchange.asked, plain(statement))
        for server in self._servers:
            with self.ask(request, server_port=server.http_port) as response:
                if response.status != 200 or server is self._servers[-1]:
                    exchange.pass_on(response)
                    return
                response.read()


def _with_statement(request: Request, statement: str) -> Request:
    """Return `request` with another statement, which is in the body."""
    parts = urlsplit(request.target)
    fields = [(name, value) for name, value in parse_qsl(parts.query) if name != "query"]
    target = parts._replace(query=urlencode(fields)).geturl()
    return replace(request, method="POST", target=target, body=statement.encode())


class Cluster:
    """The servers of a cluster, and a proxy in front of the first one.

    Replicas of a shard do not copy rows from each other. The rows of a replica are those that were
    inserted into it.

    Attributes:
        database: name of the database, on all servers.
        servers: all servers, ordered by shard and then by replica.
        proxy: the proxy in front of the first server.
    """

    def __init__(
        self,
        directory: Path,
        *,
        shards: int = 2,
        replicas: int = 1,
        database: str = "events",
        users_xml: str = DEFAULT_USERS,
        zookeeper_port: int | None = None,
    ) -> None:
        """Create the servers and the proxy, and start none of them.

        Args:
            directory: place of the data directories of the servers.
            shards: number of shards.
            replicas: number of replicas of each shard.
            database: name of the database.
            users_xml: users of all servers.
            zookeeper_port: port of the ZooKeeper that all servers use, if any.
        """
        self._directory = directory
        self._replicas = replicas
        self._users_xml = users_xml
        self._zookeeper_port = zookeeper_port
        self.database = database
        self.servers = [self._new_server(number) for number in range(1, shards * replicas + 1)]
        self.proxy = OnClusterProxy(self.servers)

    @property
    def url(self) -> str:
        """The URL of the first server, through the proxy."""
        return self.proxy.through(self.servers[0].url(self.database))

    def start(self) -> None:
        """Start all servers, and create the database on each of them."""
        self.configure()
        for server in self.servers:
            server.start()
            server.create_database(self.database)

    def add_shard(self) -> ClickHouse:
        """Start one more server with an empty database, and restart the others with the new shard.

        Returns:
            The new server.
        """
        server = self._new_server(len(self.servers) + 1)
        self.servers.append(server)
        self.configure()
        for other in self.servers[:-1]:
            other.restart()
        server.start()
        server.create_database(self.database)
        return server

    def sql(self, statement: str, **options: Any) -> list[str]:
        """Run a statement on each server, and return the results in the order of the servers."""
        return [server.sql(statement, database=self.database, **options) for server in self.servers]

    def _new_server(self, number: int) -> ClickHouse:
        data_dir = self._directory / f"server-{number}"
        return ClickHouse(data_dir=data_dir, users_xml=self._users_xml)

    def configure(self) -> None:
        """Write all servers into the configuration of each, which it reads at its next start."""
        replicas = [
            f"<replica><host>{HOST}</host><port>{server.tcp_port}</port>"
            f"<user>app</user><password>{PASSWORD}</password></replica>"
            for server in self.servers
        ]
        shards = "".join(
            "<shard><internal_replication>true</internal_replication>"
            + "".join(replicas[first : first + self._replicas])
            + "</shard>"
            for first in range(0, len(replicas), self._replicas)
        )
        for index, server in enumerate(self.servers):
            shard, replica = divmod(index, self._replicas)
            server.more_xml = (
                f"<remote_servers><{CLUSTER}>{shards}</{CLUSTER}></remote_servers>"
                f"<macros><shard>{shard + 1:02}</shard><replica>r{replica + 1}</replica></macros>"
                + self._zookeeper_xml(index)
            )

    def _zookeeper_xml(self, index: int) -> str:
        if self._zookeeper_port is None:
            return ""
        # These servers all have the same id, and sessions are registered by the id.
        return (
            f"<zookeeper><node><host>{HOST}</host><port>{self._zookeeper_port}</port></node>"
            f"<sessions_path>/clickhouse/sessions/{index}</sessions_path></zookeeper>"
        )


@contextmanager
def cluster(directory: Path, *, shards: int = 2, **options: Any) -> Iterator[Cluster]:
    """Start a cluster, and stop it at the end of the block.

    Args:
        directory: place of the data directories of the servers.
        shards: number of shards.
        **options: see `Cluster`.
    """
    made = Cluster(directory, shards=shards, **options)
    with made.proxy:
        try:
            made.start()
            yield made
        finally:
            for server in made.servers:
                if server.running:
                    server.stop()
