"""The `event-stream` command: one module for each subcommand, joined in `main`.

The modules import other packages inside functions, so that a command loads only what it needs.
"""
