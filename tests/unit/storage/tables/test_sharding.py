"""Eras of a cluster: what is written into a table's comment comes back."""

from datetime import date

import pytest

from storage.tables.sharding import Sharding


def test_the_comment_of_a_table_has_its_eras() -> None:
    sharding = Sharding.of(2).extended(3, date(2026, 11, 25)).extended(5, date(2027, 2, 1))
    assert Sharding.parse(sharding.comment()) == sharding
    assert sharding.slots == 5
    assert sharding.key() == (
        "if(key_time < '2027-02-03',"
        " if(key_time < '2026-11-27', cityHash64(id) % 2, cityHash64(id) % 3),"
        " cityHash64(id) % 5)"
    )


@pytest.mark.parametrize("comment", ["", "events of the shop", "{}", "[]", '{"eras": [[1, 2]]}'])
def test_a_comment_of_somebody_else_is_none_of_ours(comment: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Sharding.parse(comment)
