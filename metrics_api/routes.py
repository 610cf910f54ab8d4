"""All endpoints by their path."""

from collections.abc import Mapping

import pyarrow as pa

from metrics_api.endpoints.catalog import plan_names, plan_properties
from metrics_api.endpoints.endpoint import Endpoint
from metrics_api.endpoints.events import Restore, events_endpoint
from metrics_api.endpoints.funnel import plan_funnel
from metrics_api.endpoints.metrics import plan_metrics, plan_top
from metrics_api.endpoints.retention import plan_retention
from metrics_api.serving.resources import QueryContext, QueryResource

ENDPOINTS: Mapping[str, Endpoint] = {
    "metrics": plan_metrics,
    "top": plan_top,
    "funnel": plan_funnel,
    "retention": plan_retention,
    "names": plan_names,
    "properties": plan_properties,
}
"""Last part of the path to endpoint, for all but `/events` itself."""


def query_resources(
    context: QueryContext, *, schema: pa.Schema, restore: Restore
) -> dict[str, QueryResource]:
    """Make the resource of each path.

    Args:
        context: services that all resources share.
        schema: schema of the events table.
        restore: makes an event of a row of that table.

    Returns:
        Path to resource.
    """
    resources = {
        f"/events/{name}": QueryResource(name, endpoint, context)
        for name, endpoint in ENDPOINTS.items()
    }
    events = QueryResource("events", events_endpoint(schema, restore), context)
    return {"/events": events, **resources}
