"""Events that differ only in their ids. To make them costs far less than to receive them."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from itertools import count, cycle

import orjson

from bench.clients.generate import generate


class EventPool:
    """An endless supply of new events with repeated contents.

    Attributes:
        run: random text in the ids of this pool.
        name: name of the events, if the pool was made with a `name`.
    """

    def __init__(
        self, size: int, *, start: datetime, days: int, seed: int = 1, name: str | None = None
    ) -> None:
        """Generate the contents.

        Args:
            size: number of events before the contents repeat.
            start: earliest time of the events.
            days: days that the events are spread over.
            seed: seed of the random contents.
            name: prefix of the events' name, which is then unique to this pool. Without it the
                events have realistic names.
        """
        self.run = uuid.uuid4().hex[:12]
        self.name = f"{name}_{self.run}"
        lines = generate(size, seed=seed, start=start, days=days, ids=False)
        if name is not None:
            lines = (orjson.dumps(orjson.loads(line) | {"name": self.name}) for line in lines)
        self._rests: Iterator[bytes] = cycle([line.removeprefix(b"{") for line in lines])
        self._numbers = count()

    def take(self, events: int) -> list[bytes]:
        """Return `events` new events as JSON texts."""
        run, numbers, rests = self.run.encode(), self._numbers, self._rests
        return [b'{"id":"%b-%d",%b' % (run, next(numbers), next(rests)) for _ in range(events)]

    def take_ids(self, events: int) -> list[str]:
        """Return the ids of `events` new events, for contents that the caller has already."""
        return [f"{self.run}-{next(self._numbers)}" for _ in range(events)]
