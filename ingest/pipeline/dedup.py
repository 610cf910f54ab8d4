"""The dedup window: the events seen recently, in two phases.

An event is known by its key (`identity.Identities.keys`): its name, id and own time.

Invariants:
- a key is *claimed* while its event is on the way to the buffer, and *confirmed* only once the
  event is safely there; a failed write releases the claim, so that a retry is not taken for a
  duplicate of something that was never kept;
- whoever brings a key that is claimed shares the fate of the one who claimed it;
- memory is bounded: two generations of confirmed keys, of which the older one is forgotten when the
  younger is full. So between half the window and the whole window is remembered.

Not thread-safe: it belongs to the event loop. It is not the last word either: what it has
forgotten, the table still collapses.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

Owner = TypeVar("Owner")
"""Whatever stands for the fate of a claim, such as a commit."""


class DedupWindow(Generic[Owner]):
    def __init__(self, *, keys_max: int) -> None:
        self._generation_keys_max = max(1, keys_max // 2)
        self._claimed: dict[str, Owner] = {}
        self._young: set[str] = set()
        self._old: set[str] = set()

    def __len__(self) -> int:
        """How many keys are remembered as confirmed."""
        return len(self._young) + len(self._old)

    def claim(self, keys: Sequence[str], owner: Owner) -> tuple[Sequence[int], Mapping[Owner, int]]:
        """Claim the keys that are new, for `owner`.

        Returns the positions of the new keys (of a repeated one the first), and the owners of the
        claims whose fate other positions share, with how many do; the rest are confirmed already.
        """
        unique = set(keys)
        if (  # PERF: all new, the common case, without a step of Python for each key
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
        """The claimed `keys` are safe: from now on they are duplicates."""
        self._settle(keys)
        self._young.update(keys)
        self._turn()

    def release(self, keys: Iterable[str]) -> None:
        """The claimed `keys` were not kept: the next to bring them is the first again."""
        self._settle(keys)

    def remember(self, keys: Iterable[str]) -> None:
        """`keys` are known to be safe, whoever brought them: they are duplicates from now on."""
        self._young.update(keys)
        self._turn()

    def _turn(self) -> None:
        if len(self._young) >= self._generation_keys_max:
            self._old, self._young = self._young, set()

    def _settle(self, keys: Iterable[str]) -> None:
        for key in keys:
            del self._claimed[key]
