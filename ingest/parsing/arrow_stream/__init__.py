"""Arrow IPC streams, whose columns are the fields of events: check, read, convert, validate.

Reading order: `stream_parser`, `messages`, `references`, `columns`, `casts`, `rows`.
"""
