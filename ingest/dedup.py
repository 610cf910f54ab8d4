"""The dedup window: the ids seen recently, in two phases.

Invariants:
- an id is *claimed* while its event is on the way to the buffer, and *confirmed* only once the
  event is safely there; a failed write releases the claim, so that a retry is not taken for a
  duplicate of something that was never kept;
- whoever brings an id that is claimed shares the fate of the one who claimed it;
- memory is bounded: two generations of confirmed ids, of which the older one is forgotten when the
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
    def __init__(self, *, ids_max: int) -> None:
        self._generation_ids_max = max(1, ids_max // 2)
        self._claimed: dict[str, Owner] = {}
        self._young: set[str] = set()
        self._old: set[str] = set()

    def __len__(self) -> int:
        """How many ids are remembered as confirmed."""
        return len(self._young) + len(self._old)

    def claim(self, ids: Sequence[str], owner: Owner) -> tuple[Sequence[int], Mapping[Owner, int]]:
        """Claim the ids that are new, for `owner`.

        Returns the positions of the new ids (of a repeated one the first), and the owners of the
        claims whose fate other positions share, with how many do; the rest are confirmed already.
        """
        unique = set(ids)
        if (  # PERF: all new, the common case, without a step of Python for each id
            len(unique) == len(ids)
            and unique.isdisjoint(self._young)
            and unique.isdisjoint(self._old)
            and (not self._claimed or self._claimed.keys().isdisjoint(unique))
        ):
            self._claimed.update(dict.fromkeys(ids, owner))
            return range(len(ids)), {}
        shared: Counter[Owner] = Counter()
        fresh: list[int] = []
        for position, event_id in enumerate(ids):
            if event_id in self._young or event_id in self._old:
                continue
            earlier = self._claimed.get(event_id)
            if earlier is None:
                self._claimed[event_id] = owner
                fresh.append(position)
            else:
                shared[earlier] += 1
        return fresh, shared

    def confirm(self, ids: Iterable[str]) -> None:
        """The claimed `ids` are safe: from now on they are duplicates."""
        self._settle(ids)
        self._young.update(ids)
        self._turn()

    def release(self, ids: Iterable[str]) -> None:
        """The claimed `ids` were not kept: the next to bring them is the first again."""
        self._settle(ids)

    def remember(self, ids: Iterable[str]) -> None:
        """`ids` are known to be safe, whoever brought them: they are duplicates from now on."""
        self._young.update(ids)
        self._turn()

    def _turn(self) -> None:
        if len(self._young) >= self._generation_ids_max:
            self._old, self._young = self._young, set()

    def _settle(self, ids: Iterable[str]) -> None:
        for event_id in ids:
            del self._claimed[event_id]
