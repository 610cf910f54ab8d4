"""GET /metrics: what Prometheus scrapes, of every worker in one reply.

Each series carries the number of its worker, so that a worker's restart looks to Prometheus like
the counter reset that it is, and the sums are the service's.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from falcon.asgi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class ScrapeResource:
    def __init__(self, expositions: Callable[[], Awaitable[Mapping[int, bytes]]]) -> None:
        """expositions: what each worker's registry says, by the worker's number."""
        self._expositions = expositions

    async def on_get(self, req: Request, resp: Response) -> None:
        expositions = await self._expositions()
        resp.content_type = CONTENT_TYPE_LATEST
        resp.data = merge(expositions)


def merge(expositions: Mapping[int, bytes]) -> bytes:
    """One exposition out of several, each series labelled with its worker."""
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
