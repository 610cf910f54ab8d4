"""The `event-stream` command, one module for each subcommand; `main` joins them.

Imports everything else late, inside functions: a command must not load what it does not need.
"""
