"""Access to ClickHouse, embedded or as a server: connections, errors, inserts and queries."""
