"""Events that differ in their ids alone, made for far less than it takes to receive them."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from itertools import count, cycle

import orjson

from bench.clients.generate import generate


class EventPool:
    def __init__(
        self, size: int, *, start: datetime, days: int, seed: int = 1, name: str | None = None
    ) -> None:
        """size: events before their contents repeat; name: what the name of all of them begins
        with, which is then one of this pool alone; else they have realistic names."""
        self.run = uuid.uuid4().hex[:12]
        self.name = f"{name}_{self.run}"
        lines = generate(size, seed=seed, start=start, days=days, ids=False)
        if name is not None:
            lines = (orjson.dumps(orjson.loads(line) | {"name": self.name}) for line in lines)
        self._rests: Iterator[bytes] = cycle([line.removeprefix(b"{") for line in lines])
        self._numbers = count()

    def take(self, events: int) -> list[bytes]:
        """New events as JSON texts."""
        run, numbers, rests = self.run.encode(), self._numbers, self._rests
        return [b'{"id":"%b-%d",%b' % (run, next(numbers), next(rests)) for _ in range(events)]
