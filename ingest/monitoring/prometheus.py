"""GET /metrics: the series of all workers in one Prometheus exposition.

Each series has the label `worker`, the worker's number. When a worker restarts, Prometheus sees a
counter reset, which it handles. The sum over the workers is the value of the service.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from falcon.asgi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class ScrapeResource:
    """GET /metrics."""

    def __init__(self, expositions: Callable[[], Awaitable[Mapping[int, bytes]]]) -> None:
        """Read the expositions from all workers.

        Args:
            expositions: returns the exposition of each worker, by the worker's number.
        """
        self._expositions = expositions

    async def on_get(self, req: Request, resp: Response) -> None:
        """Respond with the merged exposition."""
        expositions = await self._expositions()
        resp.content_type = CONTENT_TYPE_LATEST
        resp.data = merge(expositions)


def merge(expositions: Mapping[int, bytes]) -> bytes:
    """Merge expositions by worker number into one, and label each series with its worker."""
    registry = CollectorRegistry()
    registry.register(_Merged(expositions))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, expositions: Mapping[int, bytes]) -> None:
        self._expositions = expositions

    def collect(self) -> Iterable[Metric]:
        merged: dict[str, Metric] = {}
        for number, text in sorted(self._expositions.items()):
            for family in text_string_to_metric_families(text.decode()):
                metric = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                metric.samples += [
                    sample._replace(labels={**sample.labels, "worker": str(number)})
                    for sample in family.samples
                ]
        return merged.values()
