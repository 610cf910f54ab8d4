"""The tables in ClickHouse: what they look like, how they are created and kept up to date.

Read `schema` first, then `migrations`.
"""
