"""Everything but the events: datasets, documentation, probes, metrics, and how the framework says no."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable

import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.entrypoints.http_api.door import GOOD, AlwaysFails, Door, listening
from tests.unit.entrypoints.http_api.wire import answer_of, connected

from streamlake.domain.model.records import AppendOutcome

EVENTS = "/v1/datasets/orders/events"


def test_the_datasets_are_listed_with_their_versions(door: Door) -> None:
    listed = door.request("GET", "/v1/datasets").json()["datasets"]

    assert [(d["name"], d["versions"], d["newest"]) for d in listed] == [
        ("orders", ["v1", "v2"], "v2"),
        ("refunds", ["v1"], "v1"),
    ]


def test_a_dataset_shows_its_schema_and_an_example_that_the_api_accepts(door: Door) -> None:
    shown = door.request("GET", "/v1/datasets/orders").json()

    assert (shown["version"], shown["versions"], shown["key"]) == ("v2", ["v1", "v2"], "id")
    Draft202012Validator(shown["json_schema"]).validate(shown["example"])
    assert door.post(EVENTS, json.dumps(shown["example"]).encode()).status_code == 202
    older = door.request("GET", "/v1/datasets/orders?schema_version=v1").json()
    assert (older["version"], older["newest"]) == ("v1", "v2")


@pytest.mark.parametrize("path", ["/v1/datasets/nope", "/v1/datasets/orders?schema_version=v9"])
def test_an_unknown_dataset_or_version_is_a_404_problem(door: Door, path: str) -> None:
    answer = door.request("GET", path)

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "urn:streamlake:problem:unknown-dataset"


def test_the_openapi_document_has_every_route_and_each_datasets_schema_and_example(door: Door) -> None:
    document = door.request("GET", "/openapi.json").json()

    expected = {f"/v1/datasets/{d}/{e}" for d in ("orders", "refunds") for e in ("events", "events:batch")}
    expected |= {"/v1/datasets", "/v1/datasets/{dataset}", "/livez", "/readyz", "/metrics"}
    assert set(document["paths"]) == expected
    post = document["paths"][EVENTS]["post"]
    body = post["requestBody"]["content"]["application/json"]
    assert body["schema"] == {
        "anyOf": [{"$ref": "#/components/schemas/orders.v2"}, {"$ref": "#/components/schemas/orders.v1"}]
    }
    assert set(body["examples"]) == {"orders.v1", "orders.v2"}
    assert {"202", "404", "405", "413", "415", "422", "503", "504"} <= set(post["responses"])
    assert {"orders.v1", "orders.v2", "refunds.v1"} <= set(document["components"]["schemas"])
    for reference in _references(document):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [r for value in node.values() for r in _references(value)]
    return [r for value in node for r in _references(value)] if isinstance(node, list) else []


def test_the_documentation_page_and_all_it_is_made_of_come_from_here(door: Door) -> None:
    page = door.request("GET", "/docs").text

    files = ["".join(pair) for pair in re.findall(r"""(?:src|href)=["']([^"']+)|url: '([^']+)'""", page)]
    assert sorted(file.rpartition(".")[2] for file in files) == ["css", "js", "json", "png"]
    assert "://" not in page
    assert [door.request("GET", f"/{file}").status_code for file in files] == [200] * len(files)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/datasets/", 404),
        ("POST", "/v1/datasets/a/b/events", 404),
        ("POST", "/v1/datasets/..%2f..%2fetc/events", 404),
        ("GET", "/v1/datasets/orders/events%3abatch/", 404),
        ("POST", "/v1/datasets", 405),
        ("DELETE", "/readyz", 405),
    ],
)
def test_the_framework_says_no_in_problem_documents_too(door: Door, method: str, path: str, status: int) -> None:
    answer = door.request(method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status


def test_a_fault_of_ours_is_a_500_that_tells_nothing(make_door: Callable[..., Door], log_lines: io.StringIO) -> None:
    class Bug(AlwaysFails):
        def append_and_wait(self, records: object) -> list[AppendOutcome]:
            raise ZeroDivisionError("s3cret")

    door = make_door(writer=lambda _: Bug(ZeroDivisionError()))  # type: ignore[arg-type]
    answer = door.post(EVENTS)

    assert (answer.status_code, answer.json()["type"]) == (500, "urn:streamlake:problem:internal")
    assert "Zero" not in answer.text
    logged = log_lines.getvalue()
    assert '"error_class": "ZeroDivisionError"' in logged
    assert "s3cret" not in logged
    assert door.app.events.inflight.requests == 0


def test_the_metrics_count_events_by_outcome_and_letters_by_class(door: Door) -> None:
    door.post(EVENTS)
    door.post(EVENTS, b"{broken")
    door.post(EVENTS + ":batch", b"[" + GOOD + b',{"id":1},' + GOOD + b"]")
    page = door.request("GET", "/metrics")

    samples = {
        (s.name, *sorted(s.labels.values())): s.value
        for family in text_string_to_metric_families(page.text)
        for s in family.samples
    }
    assert samples["streamlake_api_events_total", "accepted", "orders"] == 3
    assert samples["streamlake_api_events_total", "orders", "rejected"] == 2
    assert samples["streamlake_api_dead_letters_total", "malformed_json", "orders"] == 1
    assert samples["streamlake_api_dead_letters_total", "contract_violation", "orders"] == 1
    assert samples["streamlake_api_requests_total", "202", "events"] == 1
    assert samples["streamlake_api_requests_total", "207", "events:batch"] == 1
    assert samples["streamlake_api_request_seconds_count", "events"] == 2
    assert samples["streamlake_api_inflight_requests",] == 0
    assert samples["streamlake_api_ready",] == 1


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/v1/datasets", "/v1/datasets/orders"]
)
def test_head_is_get_without_the_body(door: Door, path: str) -> None:
    with listening(door) as (port, _, _), connected(port) as link:
        answers = []
        for method, with_body in (("HEAD", False), ("GET", True)):
            link.sendall(f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            answers.append(answer_of(link, with_body=with_body))

    (status, headers, _), (_, of_get, _) = answers
    assert (status, headers["content-type"]) == (200, of_get["content-type"])
    assert int(headers["content-length"]) > 0


def test_a_path_that_takes_no_post_says_what_it_takes(door: Door) -> None:
    assert door.request("POST", "/livez").headers["allow"] == "GET, HEAD"
