"""The dedup window against a model: claimed, confirmed and forgotten keys."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.pipeline.dedup import DedupWindow

IDS_MAX = 8
IDS = st.lists(st.sampled_from("abcdefghijklmnop"), max_size=5)


class DedupMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.window: DedupWindow[int] = DedupWindow(keys_max=IDS_MAX)
        self.claims: dict[int, list[str]] = {}
        self.confirmed: list[str] = []  # oldest first
        self.owner = 0

    @rule(ids=IDS)
    def claim(self, ids: list[str]) -> None:
        self.owner += 1
        fresh, shared = self.window.claim(ids, self.owner)
        claimed = {i: owner for owner, owned in self.claims.items() for i in owned}
        new: list[str] = []
        expected_shared: dict[int, int] = {}
        for position, event_id in enumerate(ids):
            if event_id in new or event_id in claimed:
                owner = claimed.get(event_id, self.owner)
                expected_shared[owner] = expected_shared.get(owner, 0) + 1
            elif position in fresh:
                # A confirmed id may only be new again if it is old enough to be forgotten.
                assert event_id not in self.confirmed[-(IDS_MAX // 2) :]
                new.append(event_id)
            else:
                assert event_id in self.confirmed
        assert dict(shared) == expected_shared
        if new:
            self.claims[self.owner] = new

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        ids = self.claims.pop(data.draw(st.sampled_from(sorted(self.claims))))
        self.window.confirm(ids)
        self.confirmed += ids

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        ids = self.claims.pop(data.draw(st.sampled_from(sorted(self.claims))))
        self.window.release(ids)

    @invariant()
    def is_bounded(self) -> None:
        # Each generation may exceed its limit, but only by one confirmed list of ids.
        assert len(self.window) <= IDS_MAX + 2 * 5


TestDedup = DedupMachine.TestCase
