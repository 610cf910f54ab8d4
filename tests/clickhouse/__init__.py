"""A real ClickHouse server for the tests, out of the chDB wheel, and proxies to put before it."""
