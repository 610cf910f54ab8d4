"""The parent process: checks before the start, Granian, and the workers it starts.

Read `supervisor` first. Must not load Arrow or ClickHouse: only a worker process needs them.
"""
