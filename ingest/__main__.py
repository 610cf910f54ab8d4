"""`python -m ingest` is `event-stream`."""

from ingest.cli.main import main

main()
