"""From bytes to valid events.

`parser` chooses the way. `msgspec_parser` and `arrow_parser` are fast paths that never explain;
`strict_json` and `validation` are the strict path, which is the authority.
"""
