"""Parse the bodies of requests into valid events.

`parser` chooses the path for a body. `msgspec_parser` and `arrow_parser` are fast paths, which give
up without an explanation. `strict_json` and `validation` are the strict path, which has the last
word and explains errors.
"""
