"""The tables of Event Stream, and the properties by which they are recognized."""

from collections.abc import Mapping
from dataclasses import dataclass

from storage.tables.cluster import ClusterLayout
from storage.tables.rollups import ROLLUPS, VIEWS
from storage.tables.schema import EVENTS_TABLE, SORT_KEY

MIGRATIONS_TABLE = "schema_migrations"
DATA_TABLES = (EVENTS_TABLE, *(table for _, table in ROLLUPS))
"""The tables that hold events or data derived from events."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties of a table of Event Stream.

    Attributes:
        engine: end of the engine's name, which may begin with Replicated or Shared.
        sorting_key: sort key of the table, or None when it is not compared.
    """

    engine: str
    sorting_key: str | None = None


def expected_tables(layout: ClusterLayout) -> Mapping[str, Shape]:
    """Return all tables of Event Stream, by name."""
    shapes = {
        layout.local(EVENTS_TABLE): Shape("ReplacingMergeTree", SORT_KEY),
        **{layout.local(table): Shape("AggregatingMergeTree") for _, table in ROLLUPS},
        **{view: Shape("MaterializedView") for view in VIEWS},
        MIGRATIONS_TABLE: Shape("ReplacingMergeTree", "version"),
    }
    if layout.cluster:
        shapes |= {table: Shape("Distributed") for table in DATA_TABLES}
    return shapes
