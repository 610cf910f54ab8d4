"""A load shape for Locust: the number of users doubles with each step.

    uv run locust -f bench/locustfile.py,bench/harness/steps.py --host http://127.0.0.1:8080

`--step-seconds` is the duration of each step. `--steps` is the number of steps: with 6, the last
step has 32 users.
"""

from argparse import ArgumentParser
from typing import Any

from locust import LoadTestShape, events


class Steps(LoadTestShape):
    """Steps of 1, 2, 4, 8, … users."""

    def tick(self) -> tuple[int, float] | None:
        """Return the number of users and the spawn rate, or None at the end."""
        assert self.runner is not None
        options: Any = self.runner.environment.parsed_options
        run_s: float = self.get_run_time()  # type: ignore[no-untyped-call]
        step = int(run_s / options.step_seconds)
        return (2**step, 2**step) if step < options.steps else None


def add_options(parser: ArgumentParser) -> None:
    """Add the options to Locust's command line."""
    parser.add_argument("--step-seconds", type=float, default=10, help="Duration of each step")
    parser.add_argument(
        "--steps", type=int, default=6, help="Number of steps, each with twice the users"
    )


events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
