"""Arrow in, rows out: everything that speaks to ClickHouse, and nothing that knows of HTTP."""
