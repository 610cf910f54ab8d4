"""All questions, by the path that they are asked at."""

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


def query_resources(
    context: QueryContext, *, schema: pa.Schema, restore: Restore
) -> dict[str, QueryResource]:
    """schema, restore: of the events table, for the events themselves."""
    resources = {
        f"/events/{name}": QueryResource(name, endpoint, context)
        for name, endpoint in ENDPOINTS.items()
    }
    recent = QueryResource("events", events_endpoint(schema, restore), context)
    return {"/events": recent, **resources}
