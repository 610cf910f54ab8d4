"""All questions, by the path that they are asked at."""

from collections.abc import Mapping

import pyarrow as pa

from metrics_api.endpoints.catalog import plan_names, plan_properties
from metrics_api.endpoints.endpoint import Question
from metrics_api.endpoints.events import Restore, recent_question
from metrics_api.endpoints.funnel import plan_funnel
from metrics_api.endpoints.metrics import plan_metrics, plan_top
from metrics_api.endpoints.retention import plan_retention
from metrics_api.serving.resources import QueryParts, QuestionResource

QUESTIONS: Mapping[str, Question] = {
    "metrics": plan_metrics,
    "top": plan_top,
    "funnel": plan_funnel,
    "retention": plan_retention,
    "names": plan_names,
    "properties": plan_properties,
}


def question_resources(
    parts: QueryParts, *, schema: pa.Schema, restore: Restore
) -> dict[str, QuestionResource]:
    """schema, restore: of the events table, for the events themselves."""
    resources = {
        f"/events/{name}": QuestionResource(name, question, parts)
        for name, question in QUESTIONS.items()
    }
    recent = QuestionResource("events", recent_question(schema, restore), parts)
    return {"/events": recent, **resources}
