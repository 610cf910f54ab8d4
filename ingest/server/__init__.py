"""The parent process: the checks before the start, Granian, and the start of its workers.

Read `supervisor` first. The parent must not load Arrow or ClickHouse, which only workers need.
"""
