"""The write-ahead log (WAL): what makes an acknowledged event survive kill -9. Read `wal` first."""
