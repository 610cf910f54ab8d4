"""Tests that an error names the unknown parameters of a request."""

import pytest

from metrics_api.errors import ParameterError
from metrics_api.openapi import metrics_paths, recent_operation
from metrics_api.query.dimensions import FILTERABLE
from metrics_api.query.query_string import Parameters
from metrics_api.query.unknown_parameters import PARAMETERS, with_unknown
from metrics_api.routes import ENDPOINTS

NOW_US = 1_700_000_000_000_000


@pytest.mark.parametrize(
    ("endpoint", "query", "name"),
    [("metrics", "event_name[]=x", "'event_name[]'"), ("metrics", "name=x", "'name'"),
     ("metrics", "Event_Name=x", "'Event_Name'"), ("metrics", "", ""),
     ("funnel", "step[]=a&step[]=b", "'step[]'"), ("funnel", "steps=a,b", "'steps'"),
     ("top", "dim=os", "'dim'"), ("names", "from[]=x", "'from[]'"),
     ("metrics", "event_name=x&limit=no&groupby=os", "'groupby'")],
)  # fmt: skip
def test_an_error_names_unknown_parameters(endpoint: str, query: str, name: str) -> None:
    parameters = Parameters(query)
    with pytest.raises(ParameterError) as refused:
        ENDPOINTS[endpoint](parameters, NOW_US)
    message = str(with_unknown(refused.value, parameters))
    assert message.count(name) == 1 or not name
    assert "not known" in message or not name


@pytest.mark.parametrize(
    "query",
    ["os!=iOS", "hostname^=a", "hostname!^=a", "city*=b", "city!*=b", "param.x>=1", "param.x<2",
     "param.a>b=1", "item_id=1", "channel=web", "user=u"],
)  # fmt: skip
def test_filters_are_known_whatever_their_operator(query: str) -> None:
    error = ParameterError("Something else")
    assert with_unknown(error, Parameters(query)) is error


def test_the_parameters_are_those_that_openapi_has() -> None:
    operations = [item["get"] for item in metrics_paths().values()] + [recent_operation()]
    documented = {each["name"] for operation in operations for each in operation["parameters"]}
    assert documented - (set(FILTERABLE) - PARAMETERS) == PARAMETERS
