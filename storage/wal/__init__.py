"""The write-ahead log (WAL): acknowledged events survive kill -9. Read `wal` first."""
