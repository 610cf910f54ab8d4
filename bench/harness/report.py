"""The report of a suite: one page with a table, plots, and links to Locust's own reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from bench.harness.step import Step

WIDTH, HEIGHT = 320, 120


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measured steps of one scenario."""

    name: str
    steps: Sequence[Step]

    @property
    def sustainable(self) -> Step | None:
        """The best of the steps in which nothing failed and storage kept up."""
        return max(
            (step for step in self.steps if step.is_sustained),
            key=lambda step: (step.events_per_s, step.requests_per_s),
            default=None,
        )

    def plot(self, field: str) -> str:
        """Return the points of an SVG polyline of WIDTH by HEIGHT: a field of the steps."""
        values = [float(getattr(step, field)) for step in self.steps]
        top = max([*values, 1e-9])
        across = WIDTH / max(1, len(values) - 1)
        return " ".join(
            f"{number * across:.0f},{HEIGHT - value / top * HEIGHT:.0f}"
            for number, value in enumerate(values)
        )

    def top(self, field: str) -> float:
        """Return the largest value of a field of the steps."""
        return max((float(getattr(step, field)) for step in self.steps), default=0.0)


def write_report(
    path: Path, machine: Mapping[str, str], measurements: Sequence[Measurement]
) -> None:
    """Write the report.

    Args:
        path: the HTML file.
        machine: the result of `bench.harness.machine.describe`.
        measurements: what was measured.
    """
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
    ("cpu_us_per_event", "CPU per event, µs", 1),
    ("rss_bytes", "RSS, MiB", 2**20),
)
"""Plots of each scenario: field of `Step`, label, divisor for display."""
