"""Query parameters as clients write them."""

import pytest

from metrics_api.errors import ParameterError
from metrics_api.params import parse_instant, parse_query


@pytest.mark.parametrize(
    ("text", "us", "printed"),
    [
        ("2024-01-15T10:00:00Z", 1_705_312_800_000_000, "2024-01-15T10:00:00Z"),
        ("2024-01-15t10:00:00z", 1_705_312_800_000_000, "2024-01-15T10:00:00Z"),
        ("2024-01-15T10:00:00.5Z", 1_705_312_800_500_000, "2024-01-15T10:00:00.5Z"),
        ("2024-01-15T10:00:00+01:00", 1_705_309_200_000_000, "2024-01-15T10:00:00+01:00"),
        ("2024-01-15T10:00:00 01:00", 1_705_309_200_000_000, "2024-01-15T10:00:00+01:00"),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
    ],
)
def test_an_instant_is_read_and_printed_in_its_offset(text: str, us: int, printed: str) -> None:
    instant = parse_instant("from", text)
    assert (instant.us, instant.text) == (us, printed)


@pytest.mark.parametrize("text", ["", "2024", "2024-01-15", "2024-01-15T10:00:00", "now", "1e9"])
def test_what_is_no_instant_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ParameterError, match="Query parameter from"):
        parse_instant("from", text)


def test_empty_parameters_are_as_if_left_out() -> None:
    query = parse_query({"event_name": "e", "from": "", "group_by": ""}, now_us=5_000_000)
    assert (query.start, query.group_by, query.end.us) == (None, None, 5_000_000)
    assert query.end.text == "1970-01-01T00:00:05Z"
