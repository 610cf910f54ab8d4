"""The tables that are ours: their names, and how one of ours is told from another's."""

from collections.abc import Mapping
from dataclasses import dataclass

from storage.tables.cluster import ClusterLayout
from storage.tables.rollups import ROLLUPS, VIEWS
from storage.tables.schema import EVENTS_TABLE, SORT_KEY

MIGRATIONS_TABLE = "schema_migrations"
DATA_TABLES = (EVENTS_TABLE, *(table for _, table in ROLLUPS))
"""Those with events, or with what was made of them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """engine: how its name ends, for that may begin with Replicated or Shared; sorting_key: None
    when it does not tell."""

    engine: str
    sorting_key: str | None = None


def expected_tables(layout: ClusterLayout) -> Mapping[str, Shape]:
    """All of them, by name."""
    shapes = {
        layout.local(EVENTS_TABLE): Shape("ReplacingMergeTree", SORT_KEY),
        **{layout.local(table): Shape("AggregatingMergeTree") for _, table in ROLLUPS},
        **{view: Shape("MaterializedView") for view in VIEWS},
        MIGRATIONS_TABLE: Shape("ReplacingMergeTree", "version"),
    }
    if layout.cluster:
        shapes |= {table: Shape("Distributed") for table in DATA_TABLES}
    return shapes
