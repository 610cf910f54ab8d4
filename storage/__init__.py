"""Storage of events: the WAL, dead letters, ClickHouse and its tables. Knows no HTTP."""
