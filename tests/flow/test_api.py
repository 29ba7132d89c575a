"""The API against its own OpenAPI description, with whatever schemathesis can think of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from flow.models import ApiToken, Role, Site, User
from flow.wsgi import application
from tests.flow.visits import put

assert isinstance(application, WSGIHandler)

CHECKS = (
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture
def api_schema(
    site: Site, person: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    for back in range(40):
        put(site, date.today() - timedelta(back), women=40, men=30)
    monkeypatch.setattr("flow.api.routes.REQUESTS_A_MINUTE", 100_000)
    token = ApiToken.issue(days=1, user=person(Role.ADMINISTRATOR), name="x")[1]
    # As Django's own test client does: the test's transaction must outlive each request.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    schema = schemathesis.openapi.from_wsgi(
        "/api/v1/openapi.json", application, headers={"Host": "testserver"}
    )
    schema.config.update(headers={"Authorization": f"Bearer {token}", "Host": "testserver"})
    yield schema
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def test_answers_keep_to_the_description(api_schema: Any) -> None:
    asked = []
    for operation in api_schema.get_all_operations():
        cases = operation.ok().as_strategy()

        @settings(
            max_examples=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @given(case=cases)
        def keeps(case: Any) -> None:
            answer = case.call_and_validate(checks=CHECKS)
            asked.append((case.operation.label, answer.status_code))

        keeps()
    assert {label for label, _ in asked} == {
        "GET /api/v1/sites",
        "GET /api/v1/report",
        "GET /api/v1/sensors",
    }
    assert {200, 404} <= {status for label, status in asked if label.endswith("report")}


def test_a_token_may_only_ask_so_often(
    site: Site, person: Callable[..., User], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow.api.routes.REQUESTS_A_MINUTE", 3)
    token = ApiToken.issue(days=1, user=person(Role.VIEWER, site), name="x")[1]
    headers = {"Authorization": f"Bearer {token}"}
    codes = [client.get("/api/v1/sites", headers=headers).status_code for _ in range(8)]
    assert codes[:3] == [200] * 3 and codes[-1] == 429
