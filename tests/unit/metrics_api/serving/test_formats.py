"""Tests of the choice of a format by the `Accept` header (RFC 9110, section 12.5.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_api.serving.formats import ARROW, CSV, JSON, preferred_type


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON), ("*/*", JSON), ("application/json", JSON), ("image/png", JSON),
        ("text/csv", CSV), ("TEXT/CSV", CSV), ("text/*", CSV), (ARROW, ARROW),
        ("text/csv, */*", CSV), ("*/*, text/csv", CSV), ("text/csv;q=0, */*", JSON),
        ("application/json, text/csv, */*", JSON), ("text/csv, application/json", JSON),
        ("text/csv, application/json;q=0.9", CSV), ("text/csv;q=0.8, application/json;q=0.9", JSON),
        ("text/csv; q=0.5, */*; q=0.4", CSV), ("text/csv;q=0.4, */*;q=0.5", JSON),
        ("text/csv; charset=utf-8; header=present", CSV), ("text/csv;Q=1", CSV),
        (f"{ARROW};q=0.9, text/csv;q=0.8", ARROW), (f"text/csv, {ARROW}", CSV),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("application/*", JSON), ("application/*;q=0.1, text/csv;q=0.2", CSV),
        ("text/csv;q=nonsense", JSON), ("text/csv;q=7", CSV), ("text/csv;q=-1", JSON),
        ("application/json;q=0, */*", CSV), (",,;;", JSON), ("application/json;q=0", JSON),
    ],
)  # fmt: skip
def test_the_preferred_format_is_chosen(accept: str, expected: str) -> None:
    assert preferred_type(accept) == expected


@given(st.text())
def test_any_header_leads_to_a_format(accept: str) -> None:
    assert preferred_type(accept) in (JSON, CSV, ARROW)
