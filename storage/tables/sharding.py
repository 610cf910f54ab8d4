"""Which shard of a cluster an event is on, also after shards were added.

Copies of an event must meet on one shard for ever, for a shard collapses only its own. An event's
key time is a part of its identity, and so the number of shards may depend on it: events of before a
day stay with the shards that there were, later ones use them all. Each such span is an era.

The eras are the comment of the Distributed table, so that they change with its key in one step.
"""

import json
from dataclasses import dataclass
from datetime import date, timedelta

ERA_STARTS_DAYS = 2
"""From the day on which a shard is added: events of a wrong clock may be that far ahead."""


@dataclass(frozen=True, slots=True)
class Era:
    """first_day: UTC, of the events' key time; slots: the weights of all shards, added up."""

    first_day: date
    slots: int


@dataclass(frozen=True, slots=True)
class Sharding:
    """eras: at least one, in order; the first one is for all events before the second."""

    eras: tuple[Era, ...]

    @classmethod
    def of(cls, slots: int) -> "Sharding":
        """Of a new table."""
        return cls((Era(date(1970, 1, 1), slots),))

    @classmethod
    def parse(cls, comment: str) -> "Sharding":
        """From a table's comment. Raises ValueError when it is not one of ours."""
        try:
            eras = json.loads(comment)["eras"]
            return cls(tuple(Era(date.fromisoformat(day), int(slots)) for day, slots in eras))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no eras in {comment!r}") from error

    @property
    def slots(self) -> int:
        """Of the newest era."""
        return self.eras[-1].slots

    def extended(self, slots: int, today: date) -> "Sharding":
        """With one more era, for more shards."""
        return Sharding((*self.eras, Era(today + timedelta(days=ERA_STARTS_DAYS), slots)))

    def comment(self) -> str:
        return json.dumps({"eras": [[str(era.first_day), era.slots] for era in self.eras]})

    def key(self) -> str:
        """The sharding key, an SQL expression; Distributed takes it modulo the present slots, of
        which the old ones are the first."""
        key = f"cityHash64(id) % {self.eras[0].slots}"
        for era in self.eras[1:]:
            key = f"if(key_time < '{era.first_day}', {key}, cityHash64(id) % {era.slots})"
        return key
