"""Where the tables are: on one server, or replicated on a cluster and distributed over its shards.

On a cluster each table is two: `events_local`, of which every shard has a part and every replica a
copy, and `events`, through which all of them are read and written. The macros `{shard}` and
`{replica}` are those of the servers' configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from storage.tables.sharding import Sharding

_CLUSTER_SETTINGS: Mapping[str, int | str] = {
    # What was written is asked of the replica that took it, as long as that one is there, whichever
    # server the client is connected to: the others have it only a moment later.
    "load_balancing": "first_or_random",
    "prefer_localhost_replica": 0,
    # A replica that can't reach its Keeper says so within seconds, instead of after our time-out.
    "insert_keeper_max_retries": 5,
}


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """cluster: as `system.clusters` names it, None for one server."""

    cluster: str | None = None

    @property
    def settings(self) -> Mapping[str, int | str]:
        """Of ClickHouse, for inserts and questions alike."""
        return _CLUSTER_SETTINGS if self.cluster else {}

    def everywhere(self, table: str) -> str:
        """A system table: of this server or of every replica of the cluster."""
        return f"clusterAllReplicas('{self.cluster}', {table})" if self.cluster else table

    def local(self, table: str) -> str:
        """The name of the table that has the rows."""
        return f"{table}_local" if self.cluster else table

    @property
    def on_cluster(self) -> str:
        """To follow the name of what is made or changed."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def engine(self, name: str, *arguments: str, shared: bool = False) -> str:
        """The table engine `name`; shared: every server has all the rows."""
        if self.cluster:
            name = f"Replicated{name}"
            shard, replica = ("all", "{shard}-{replica}") if shared else ("{shard}", "{replica}")
            path = f"'/clickhouse/tables/{shard}/{{database}}/{{table}}'"
            arguments = (path, f"'{replica}'", *arguments)
        return f"{name}({', '.join(arguments)})" if arguments else name

    def distributed_ddl(self, table: str, key: str) -> tuple[str, ...]:
        """What makes the parts one table; key: rows of the same key are on the same shard."""
        if not self.cluster:
            return ()
        return (f"CREATE TABLE IF NOT EXISTS {self._distributed(table, key)}",)

    def sharded_ddl(self, table: str, sharding: Sharding, *, replace: bool = False) -> str:
        """The same by the event, remembering the eras. replace: the one that is there."""
        create = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE IF NOT EXISTS"
        return f"{create} {self._distributed(table, sharding.key())} COMMENT '{sharding.comment()}'"

    def _distributed(self, table: str, key: str) -> str:
        local = self.local(table)
        return (
            f"{table}{self.on_cluster} AS {local}"
            f" ENGINE = Distributed('{self.cluster}', currentDatabase(), '{local}', {key})"
        )

    def tables(self, table: str) -> tuple[str, ...]:
        """All tables that are changed when its columns are: a shard's own before what reads it."""
        return (self.local(table), table) if self.cluster else (table,)
