"""What a report says is what was measured, and only what can go on is called sustainable."""

from pathlib import Path

from bench.harness.report import Measurement, write_report
from bench.harness.step import Step


def step(events_per_s: float, *, failures: int = 0, backlog: int = 0) -> Step:
    return Step(
        users=1, requests_per_s=1, events_per_s=events_per_s, p50_ms=1, p99_ms=2, p999_ms=3,
        failures=failures, cpu_us_per_event=4, service_cores=1, client_cores=0.1,
        rss_bytes=2**20, backlog=backlog,
    )  # fmt: skip


def test_the_sustainable_rate_is_the_best_that_can_go_on() -> None:
    refused = step(9_000, failures=1)
    fallen_behind = step(8_000, backlog=50_000)
    good = step(5_000, backlog=5_000)
    assert Measurement("m", [step(1_000), good, fallen_behind, refused]).sustainable == good
    assert Measurement("m", [refused]).sustainable is None


def test_a_report_has_the_machine_and_every_scenario(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    measurements = [Measurement("one", [step(1_000), step(2_000)]), Measurement("<two>", [])]
    write_report(page, {"processor": "a & b"}, measurements)
    text = page.read_text()
    assert "a &amp; b" in text
    assert "2,000" in text
    assert '<polyline points="0,60 320,0"/>' in text
    assert "&lt;two&gt;" in text
    assert "<two>" not in text
