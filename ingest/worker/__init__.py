"""One worker process: its start and stop, and the other workers. Read `lifespan` first."""
