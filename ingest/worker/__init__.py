"""The life of one worker process among its siblings. Read `lifespan` first."""
