"""`python -m ingest` is `event-stream`."""

from ingest.cli import main

main()
