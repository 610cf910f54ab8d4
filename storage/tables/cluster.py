"""The layout of the tables: on one server, or replicated and sharded on a cluster.

On a cluster each table has two parts. `events_local` holds rows: every shard has some of the rows,
and every replica of the shard has a copy of them. `events` is a Distributed table that reads and
writes all shards. The macros `{shard}` and `{replica}` come from the configuration of the servers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from storage.tables.sharding import Sharding

_CLUSTER_SETTINGS: Mapping[str, int | str] = {
    # A query must read the replica that took the inserts, because the other replicas have the rows
    # only a moment later. With these two settings both use the first replica of a shard while it is
    # available, whichever server the client is connected to.
    "load_balancing": "first_or_random",
    "prefer_localhost_replica": 0,
    # A replica that can't reach Keeper must fail within seconds, before the client times out.
    "insert_keeper_max_retries": 5,
}


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """The layout of the tables, and the parts of SQL statements that depend on it.

    Attributes:
        cluster: name of the cluster in `system.clusters`, or None for one server.
    """

    cluster: str | None = None

    @property
    def settings(self) -> Mapping[str, int | str]:
        """ClickHouse settings for inserts and queries."""
        return _CLUSTER_SETTINGS if self.cluster else {}

    def everywhere(self, table: str) -> str:
        """Return the SQL that reads a system table of this server, or of all replicas."""
        return f"clusterAllReplicas('{self.cluster}', {table})" if self.cluster else table

    def local(self, table: str) -> str:
        """Return the name of the table that holds the rows."""
        return f"{table}_local" if self.cluster else table

    @property
    def on_cluster(self) -> str:
        """The ON CLUSTER clause, which follows the name of a created or altered table."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def engine(self, name: str, *arguments: str, shared: bool = False) -> str:
        """Return the SQL of a table engine.

        Args:
            name: the engine, without the prefix Replicated.
            *arguments: arguments of the engine.
            shared: whether every server has all rows, instead of those of its shard.
        """
        if self.cluster:
            name = f"Replicated{name}"
            shard, replica = ("all", "{shard}-{replica}") if shared else ("{shard}", "{replica}")
            path = f"'/clickhouse/tables/{shard}/{{database}}/{{table}}'"
            arguments = (path, f"'{replica}'", *arguments)
        return f"{name}({', '.join(arguments)})" if arguments else name

    def distributed_ddl(self, table: str, key: str) -> tuple[str, ...]:
        """Return the statements that create the Distributed table; on one server, none.

        Args:
            table: name of the Distributed table.
            key: sharding key, an SQL expression. Rows with the same key are on the same shard.
        """
        if not self.cluster:
            return ()
        return (f"CREATE TABLE IF NOT EXISTS {self._distributed(table, key)}",)

    def sharded_ddl(self, table: str, sharding: Sharding, *, replace: bool = False) -> str:
        """Return the statement that creates a Distributed table sharded by the event.

        Args:
            table: name of the Distributed table.
            sharding: the eras. They are stored in the comment of the table.
            replace: whether to replace an existing table.
        """
        create = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE IF NOT EXISTS"
        return f"{create} {self._distributed(table, sharding.key())} COMMENT '{sharding.comment()}'"

    def _distributed(self, table: str, key: str) -> str:
        local = self.local(table)
        return (
            f"{table}{self.on_cluster} AS {local}"
            f" ENGINE = Distributed('{self.cluster}', currentDatabase(), '{local}', {key})"
        )

    def tables(self, table: str) -> tuple[str, ...]:
        """Return the tables to alter for a new column: the local one before the Distributed one."""
        return (self.local(table), table) if self.cluster else (table,)
