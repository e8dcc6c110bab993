"""The API is what its OpenAPI document says: schemathesis asks by the document, and every check of it holds."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis import Case
from schemathesis.config import SchemathesisConfig

from tests.serving_kit import make_settings, serving_process, session, write, write_features

# A window is valid by the document with any names and numbers; which ones a model takes, only its contract says: 422.
CONFIG = SchemathesisConfig.from_dict(
    {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "404", "422"]}}}
)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.schemas.BaseSchema]:
    settings = make_settings(tmp_path_factory.mktemp("schema"), tmp_path_factory)
    write(settings, session("AAPL", "MSFT"))
    write_features(settings, "AAPL", "MSFT")
    with serving_process(settings) as served:
        yield schemathesis.openapi.from_url(f"{served.client.base_url}/openapi.json", config=CONFIG)


api = schemathesis.pytest.from_fixture("document")


@api.parametrize()
@hypothesis_settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented(case: Case) -> None:
    case.call_and_validate()
