"""The report of a suite as one page: a table, plots, and links to Locust's own reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from bench.harness.step import Step

WIDTH, HEIGHT = 320, 120


@dataclass(frozen=True, slots=True)
class Measurement:
    """One scenario."""

    name: str
    steps: Sequence[Step]

    @property
    def sustainable(self) -> Step | None:
        """The best of the steps that can go on."""
        return max(
            (step for step in self.steps if step.is_sustained),
            key=lambda step: (step.events_per_s, step.requests_per_s),
            default=None,
        )

    def plot(self, field: str) -> str:
        """The points of a line over the steps, for an SVG polyline of WIDTH by HEIGHT."""
        values = [float(getattr(step, field)) for step in self.steps]
        top = max([*values, 1e-9])
        across = WIDTH / max(1, len(values) - 1)
        return " ".join(
            f"{number * across:.0f},{HEIGHT - value / top * HEIGHT:.0f}"
            for number, value in enumerate(values)
        )

    def top(self, field: str) -> float:
        return max((float(getattr(step, field)) for step in self.steps), default=0.0)


def write_report(
    path: Path, machine: Mapping[str, str], measurements: Sequence[Measurement]
) -> None:
    """machine: see `bench.machine.describe`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench", "."), autoescape=True, trim_blocks=True
    )
    template = environment.get_template("report.html")
    page = template.render(
        machine=machine, measurements=measurements, width=WIDTH, height=HEIGHT, plots=_PLOTS
    )
    path.write_text(page)


_PLOTS = (
    ("events_per_s", "events/s", 1),
    ("p99_ms", "p99, ms", 1),
    ("cpu_us_per_event", "CPU an event, µs", 1),
    ("rss_bytes", "RSS, MiB", 2**20),
)
"""(field, label, divisor)"""
