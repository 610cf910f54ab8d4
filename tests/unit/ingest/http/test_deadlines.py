"""Deadlines cancel tasks that are late, and no others."""

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


def test_late_tasks_are_cancelled_and_tasks_in_time_are_not() -> None:
    async def main() -> list[str]:
        deadlines = Deadlines(0.04)
        first = await asyncio.gather(work(deadlines, 0), work(deadlines, 60))
        return [*first, *await asyncio.gather(work(deadlines, 60), work(deadlines, 0.001))]

    assert asyncio.run(main()) == ["in time", "late", "late", "in time"]


def test_a_cancellation_from_elsewhere_is_distinguished() -> None:
    async def main() -> str:
        task = asyncio.create_task(work(Deadlines(60), 60))
        await asyncio.sleep(0.001)
        task.cancel()
        return await task

    assert asyncio.run(main()) == "cancelled"
