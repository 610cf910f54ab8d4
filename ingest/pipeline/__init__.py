"""The pipeline: from the body of a request to rows in the table.

The modules in the order of the flow: `ingestor`, `batcher`, `identity`, `dedup`, `committer`,
`wal_writer`, `ring_buffer`, `flusher`, `retrying_writer`.
"""
