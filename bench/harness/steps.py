"""A load shape for Locust: users that double step by step.

    uv run locust -f bench/locustfile.py,bench/steps.py --host http://127.0.0.1:8080

`--step-seconds` is the time of each step, `--steps` how many there are: 6 end with 32 users.
"""

from argparse import ArgumentParser
from typing import Any

from locust import LoadTestShape, events


class Steps(LoadTestShape):
    """1 user, 2, 4, 8, …"""

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        options: Any = self.runner.environment.parsed_options
        run_s: float = self.get_run_time()  # type: ignore[no-untyped-call]
        step = int(run_s / options.step_seconds)
        return (2**step, 2**step) if step < options.steps else None


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--step-seconds", type=float, default=10, help="Time of each step")
    parser.add_argument("--steps", type=int, default=6, help="Steps, each with twice the users")


events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
