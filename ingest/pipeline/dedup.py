"""The dedup window: remembers the keys of recent events, to find duplicates.

The key of an event (`identity.Identities.keys`) is made from its name, id and own time.

Invariants:
- A key is *claimed* while its event is written, and *confirmed* once the event is in the buffer. A
  failed write releases the claim, so that a retry of the lost event is not dropped as a duplicate.
- A request that repeats a claimed key shares the outcome of the claim.
- Memory is bounded. Confirmed keys are kept in two generations. When the young generation is full,
  the old one is forgotten. So at least half the window is remembered.

Not thread-safe: it belongs to the event loop. A duplicate of a forgotten event is stored, and the
table collapses it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

Owner = TypeVar("Owner")
"""The object that claims keys, such as a commit."""


class DedupWindow(Generic[Owner]):
    """The keys of recent events, claimed or confirmed."""

    def __init__(self, *, keys_max: int) -> None:
        """Remember about `keys_max` confirmed keys."""
        self._generation_keys_max = max(1, keys_max // 2)
        self._claimed: dict[str, Owner] = {}
        self._young: set[str] = set()
        self._old: set[str] = set()

    def __len__(self) -> int:
        """Return the number of confirmed keys that are remembered."""
        return len(self._young) + len(self._old)

    def claim(self, keys: Sequence[str], owner: Owner) -> tuple[Sequence[int], Mapping[Owner, int]]:
        """Claim the new keys for `owner`.

        Args:
            keys: keys of events, in order.
            owner: the owner of the new claims.

        Returns:
            (positions of the new keys, owners). If `keys` has a new key twice, only the first
            position is new. `owners` maps the owner of each earlier claim, or `owner` itself, to
            the number of positions that repeat its keys. All other positions have confirmed keys.
        """
        unique = set(keys)
        if (  # PERF: the common case: all keys are new, so no Python code runs for each key
            len(unique) == len(keys)
            and unique.isdisjoint(self._young)
            and unique.isdisjoint(self._old)
            and (not self._claimed or self._claimed.keys().isdisjoint(unique))
        ):
            self._claimed.update(dict.fromkeys(keys, owner))
            return range(len(keys)), {}
        shared: Counter[Owner] = Counter()
        fresh: list[int] = []
        for position, key in enumerate(keys):
            if key in self._young or key in self._old:
                continue
            earlier = self._claimed.get(key)
            if earlier is None:
                self._claimed[key] = owner
                fresh.append(position)
            else:
                shared[earlier] += 1
        return fresh, shared

    def confirm(self, keys: Iterable[str]) -> None:
        """Confirm claimed keys, because their events are in the buffer."""
        self._end_claims(keys)
        self.remember(keys)

    def release(self, keys: Iterable[str]) -> None:
        """Release claimed keys, because their events were not kept."""
        self._end_claims(keys)

    def remember(self, keys: Iterable[str]) -> None:
        """Confirm keys that were not claimed, such as those of replayed events."""
        self._young.update(keys)
        if len(self._young) >= self._generation_keys_max:
            self._old, self._young = self._young, set()

    def _end_claims(self, keys: Iterable[str]) -> None:
        for key in keys:
            del self._claimed[key]
