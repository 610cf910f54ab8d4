"""From valid events to the table.

In the order of the flow: `ingestor`, `batcher`, `identity`, `dedup`, `committer`, `wal_writer`,
`ring_buffer`, `flusher`, `retrying_writer`.
"""
