"""The services of the end-to-end tests, in both of their modes."""

from tests.end_to_end.conftest import mode, new_service

__all__ = ["mode", "new_service"]
