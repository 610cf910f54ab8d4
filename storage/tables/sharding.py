"""The shard of an event, also after shards were added to a cluster.

All copies of an event must always be on the same shard, because only copies on one shard collapse.
The key time of an event is a part of its identity, so the number of shards may depend on it. When
shards are added, events before a certain day stay on the old shards, and later events use all
shards. Each such span of time is an era.

The eras are stored in the comment of the Distributed table, so that one statement changes both the
eras and the sharding key.
"""

import json
from dataclasses import dataclass
from datetime import date, timedelta

ERA_STARTS_DAYS = 2
"""Days from adding a shard to the start of its era. A client's clock may be that far ahead."""


@dataclass(frozen=True, slots=True)
class Era:
    """A span of key times with the same number of shards.

    Attributes:
        first_day: first day of the era, in UTC.
        slots: sum of the weights of all shards.
    """

    first_day: date
    slots: int


@dataclass(frozen=True, slots=True)
class Sharding:
    """The eras of a cluster.

    Attributes:
        eras: at least one era, in order. The first era has all events before the second one.
    """

    eras: tuple[Era, ...]

    @classmethod
    def of(cls, slots: int) -> "Sharding":
        """Return the sharding of a new table, with one era."""
        return cls((Era(date(1970, 1, 1), slots),))

    @classmethod
    def parse(cls, comment: str) -> "Sharding":
        """Parse the comment of a Distributed table.

        Raises:
            ValueError: Event Stream did not write this comment.
        """
        try:
            eras = json.loads(comment)["eras"]
            return cls(tuple(Era(date.fromisoformat(day), int(slots)) for day, slots in eras))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no eras in {comment!r}") from error

    @property
    def slots(self) -> int:
        """The slots of the newest era."""
        return self.eras[-1].slots

    def extended(self, slots: int, today: date) -> "Sharding":
        """Return a sharding with one more era, which has `slots`."""
        return Sharding((*self.eras, Era(today + timedelta(days=ERA_STARTS_DAYS), slots)))

    def comment(self) -> str:
        """Return the comment that `parse` reads."""
        return json.dumps({"eras": [[str(era.first_day), era.slots] for era in self.eras]})

    def key(self) -> str:
        """Return the sharding key, an SQL expression.

        The Distributed engine takes it modulo the current slots. The slots of older eras are the
        first ones of them.
        """
        key = f"cityHash64(id) % {self.eras[0].slots}"
        for era in self.eras[1:]:
            key = f"if(key_time < '{era.first_day}', {key}, cityHash64(id) % {era.slots})"
        return key
