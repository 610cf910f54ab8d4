"""Where the tables are: on one server, or replicated on a cluster and distributed over its shards.

On a cluster each table is two: `events_local`, of which every shard has a part and every replica a
copy, and `events`, through which all of them are read and written. The macros `{shard}` and
`{replica}` are those of the servers' configuration.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """cluster: as `system.clusters` names it, None for one server."""

    cluster: str | None = None

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
        local = self.local(table)
        return (
            f"CREATE TABLE IF NOT EXISTS {table}{self.on_cluster} AS {local}"
            f" ENGINE = Distributed('{self.cluster}', currentDatabase(), '{local}', {key})",
        )

    def tables(self, table: str) -> tuple[str, ...]:
        """All tables that are changed when its columns are."""
        return (table, self.local(table)) if self.cluster else (table,)
