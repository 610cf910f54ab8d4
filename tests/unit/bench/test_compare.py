"""A ratio compares what was measured in the same round."""

from bench.baselines.contenders import Outcome
from bench.compare import ratios


def rates(*events_per_s: float) -> list[Outcome]:
    return [Outcome(rate, 1, 1, 0, 0) for rate in events_per_s]


def test_the_ratios_are_those_of_the_rounds() -> None:
    outcomes = {"clickhouse": rates(100, 50, 200), "service": rates(50, 50, 50)}
    assert list(ratios(outcomes)) == ["service / clickhouse       0.50 (0.25 to 1.00)"]


def test_arrow_is_compared_with_the_others_and_with_json() -> None:
    outcomes = {"clickhouse": rates(100), "service": rates(50), "arrow": rates(75)}
    assert [line.split()[0:5:2] for line in ratios(outcomes)] == [
        ["service", "clickhouse", "(0.50"],
        ["arrow", "clickhouse", "(0.75"],
        ["arrow", "service", "(1.50"],
    ]


def test_without_this_service_there_is_nothing_to_compare() -> None:
    assert not list(ratios({"clickhouse": rates(100), "team": rates(1)}))
