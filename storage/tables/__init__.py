"""The tables in ClickHouse: their definitions, migrations and inspection.

Read `schema` first, then `migrations`.
"""
