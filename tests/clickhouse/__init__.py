"""A real ClickHouse server for the tests, run from the chDB wheel, and proxies in front of it."""
