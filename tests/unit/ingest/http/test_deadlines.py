"""Deadlines: who is late is cancelled, and nobody else."""

import asyncio

from ingest.http.deadlines import Deadlines


async def work(deadlines: Deadlines, seconds: float) -> str:
    task = deadlines.start()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        return "late" if deadlines.passed(task) else "cancelled"
    finally:
        deadlines.stop(task)
    await asyncio.sleep(0.1)
    return "in time"


def test_who_is_late_is_cancelled_and_who_stopped_in_time_is_not() -> None:
    async def main() -> list[str]:
        deadlines = Deadlines(0.04)
        first = await asyncio.gather(work(deadlines, 0), work(deadlines, 60))
        return [*first, *await asyncio.gather(work(deadlines, 60), work(deadlines, 0.001))]

    assert asyncio.run(main()) == ["in time", "late", "late", "in time"]


def test_a_cancellation_by_others_is_told_apart() -> None:
    async def main() -> str:
        task = asyncio.create_task(work(Deadlines(60), 60))
        await asyncio.sleep(0.001)
        task.cancel()
        return await task

    assert asyncio.run(main()) == "cancelled"
