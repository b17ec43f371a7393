"""How Google's errors become ours: a table of exceptions, and a small real server that misbehaves."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from tests.contracts.object_store import JSON_LINES, crc32c, names, put

from streamlake.adapters.object_store.gcs import FAULTS, GcsObjectStore, translated
from streamlake.domain.errors import (
    AccessDenied,
    AlreadyExists,
    BucketMissing,
    GenerationChanged,
    ObjectMissing,
    OperatorFault,
    SettingsInvalid,
    StoreUnavailable,
    StreamLakeError,
)


def answered(status: int) -> requests.Response:
    """A response of this status."""
    response = requests.Response()
    response.status_code = status
    return response


def caused(error: Exception, cause: Exception) -> Exception:
    """An error as `raise error from cause` leaves it."""
    error.__cause__ = cause
    return error


MISMATCH = 'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "yZRlqg==".'

TABLE: list[tuple[Exception, type[StreamLakeError]]] = [
    # what the service answers
    (api.BadRequest("Metadata part is too large."), OperatorFault),
    (api.BadRequest(MISMATCH), StoreUnavailable),
    (api.Unauthorized("Invalid Credentials"), AccessDenied),
    (api.Forbidden("a@b.iam does not have storage.objects.create access"), AccessDenied),
    (api.NotFound("The specified bucket does not exist."), BucketMissing),
    (api.from_http_status(408, "Request Timeout"), StoreUnavailable),
    (api.Conflict("The operation conflicts with another one"), StoreUnavailable),
    (api.PreconditionFailed("At least one of the pre-conditions did not hold"), AlreadyExists),
    (api.from_http_status(413, "Payload Too Large"), OperatorFault),
    (api.TooManyRequests("The rate of requests is too high"), StoreUnavailable),
    (api.InternalServerError("We encountered an internal error"), StoreUnavailable),
    (api.BadGateway("<html>502</html>"), StoreUnavailable),
    (api.ServiceUnavailable("Backend Error"), StoreUnavailable),
    (api.GatewayTimeout("Gateway Timeout"), StoreUnavailable),
    (api.from_http_status(307, "Temporary Redirect"), StoreUnavailable),
    (api.RetryError("deadline", cause=None), StoreUnavailable),
    (InvalidResponse(answered(503), "Request failed with status code"), StoreUnavailable),
    (InvalidResponse(answered(403), "Request failed with status code"), AccessDenied),
    (DataCorruption(answered(200), "Checksum mismatch"), StoreUnavailable),
    # what happens on the way
    (requests.ConnectionError("Connection aborted."), StoreUnavailable),
    (requests.ConnectTimeout("timed out"), StoreUnavailable),
    (requests.ReadTimeout("timed out"), StoreUnavailable),
    (requests.exceptions.SSLError("certificate"), StoreUnavailable),
    (requests.exceptions.ProxyError("proxy"), StoreUnavailable),
    (requests.exceptions.ChunkedEncodingError("Response ended prematurely"), StoreUnavailable),
    (requests.exceptions.ContentDecodingError("gzip"), StoreUnavailable),
    (requests.exceptions.JSONDecodeError("Expecting value", "<html>", 0), StoreUnavailable),
    (requests.exceptions.MissingSchema("No scheme supplied"), SettingsInvalid),
    (requests.exceptions.InvalidSchema("No connection adapters were found"), SettingsInvalid),
    (requests.exceptions.InvalidURL("No host supplied"), SettingsInvalid),
    (urllib3.exceptions.ProtocolError("Connection broken"), StoreUnavailable),
    (urllib3.exceptions.IncompleteRead(1, 2), StoreUnavailable),
    (urllib3.exceptions.ReadTimeoutError(urllib3.HTTPConnectionPool("h"), "/", "timed out"), StoreUnavailable),
    (http.client.IncompleteRead(b"half"), StoreUnavailable),
    (http.client.BadStatusLine("nonsense"), StoreUnavailable),
    (ConnectionResetError(104, "Connection reset by peer"), StoreUnavailable),
    (TimeoutError("timed out"), StoreUnavailable),
    (socket.gaierror(-2, "Name or service not known"), StoreUnavailable),
    # credentials
    (auth.DefaultCredentialsError("Could not automatically determine credentials"), AccessDenied),
    (auth.RefreshError("invalid_grant: Token has been revoked"), AccessDenied),
    (auth.RefreshError("internal_failure", retryable=True), StoreUnavailable),
    (caused(auth.RefreshError("metadata"), auth.TransportError("metadata server unavailable")), StoreUnavailable),
    (auth.TransportError("oauth2.googleapis.com does not answer"), StoreUnavailable),
    (auth.MalformedError("The private key is malformed"), AccessDenied),
]


@pytest.mark.parametrize(("fault", "expected"), TABLE, ids=lambda value: repr(value)[:60])
def test_every_fault_of_the_library_becomes_one_of_ours(fault: Exception, expected: type[StreamLakeError]) -> None:
    """It is caught, it gets the class that says whose fault it is, and its message names the call."""
    assert isinstance(fault, FAULTS)
    error = translated(fault, "gs://lake: write raw/a", absent=BucketMissing, conflict=AlreadyExists)
    assert type(error) is expected
    assert str(error).startswith("gs://lake: write raw/a: ")


def test_404_and_412_mean_what_the_call_says() -> None:
    """An object that is missing is not a bucket that is missing; a lost replace is not a lost create."""
    absent = translated(api.NotFound("x"), "read", absent=ObjectMissing, conflict=AlreadyExists)
    conflict = translated(api.PreconditionFailed("x"), "write", absent=BucketMissing, conflict=GenerationChanged)
    assert (type(absent), type(conflict)) == (ObjectMissing, GenerationChanged)


def test_messages_are_one_short_line() -> None:
    """A proxy's page of HTML does not go into the logs."""
    error = translated(api.BadGateway("<html>\n" * 1000), "write", absent=BucketMissing, conflict=AlreadyExists)
    assert "\n" not in str(error)
    assert len(str(error)) < 400


# -- a real server, which answers as it is told and counts what it was asked


class Server(ThreadingHTTPServer):
    """Answers every request by `script`; the default is a reset of the connection."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.script: Callable[[Handler], None] = lambda handler: handler.reset()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.requests.append(f"{self.command} {self.path}")
        self.server.bodies.append(body)
        self.server.script(self)

    do_POST = do_GET  # noqa: N815 - the name is the base class's

    def answer(self, status: int, body: bytes = b"{}", length: int | None = None) -> None:
        """Answer with a body, of which the header may promise more than comes."""
        self.send_response(status)
        self.send_header("content-length", str(len(body) if length is None else length))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    def reset(self) -> None:
        """Close without an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def store(server: Server) -> Iterator[GcsObjectStore]:
    with closing(GcsObjectStore("lake", endpoint=server.endpoint)) as store:
        yield store


CALLS: dict[str, Callable[[GcsObjectStore], object]] = {
    "create": lambda store: put(store, "a", b"body"),
    "replace": lambda store: store.replace("a", b"body", content_type=JSON_LINES, if_generation=7),
    "read": lambda store: store.read("a"),
    "describe": lambda store: store.describe("a"),
    "list": lambda store: list(store.list("raw/")),
    "folders": lambda store: store.folders("raw/"),
    "bucket_exists": lambda store: store.bucket_exists(),
    "create_bucket": lambda store: store.create_bucket(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_answer_that_passes_is_the_worlds_fault_after_one_attempt(
    server: Server, store: GcsObjectStore, call: str, status: int
) -> None:
    """No call is retried by the library."""
    server.script = lambda handler: handler.answer(status, b"try again")
    with pytest.raises(StoreUnavailable, match=str(status)) as failed:
        CALLS[call](store)
    assert failed.value.__cause__ is not None
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_refusal_is_access_denied_by_every_call(server: Server, store: GcsObjectStore, call: str) -> None:
    """With the service's own words, which name the missing permission."""
    refusal = json.dumps({"error": {"code": 403, "message": "x@y does not have storage.objects.get access"}})
    server.script = lambda handler: handler.answer(403, refusal.encode())
    with pytest.raises(AccessDenied, match=r"storage\.objects\.get"):
        CALLS[call](store)


@pytest.mark.parametrize("call", CALLS)
def test_a_reset_connection_is_the_worlds_fault_after_one_attempt(
    server: Server, store: GcsObjectStore, call: str
) -> None:
    """A write may have been applied or not; the caller decides when to try again."""
    with pytest.raises(StoreUnavailable, match="ConnectionError"):
        CALLS[call](store)
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_does_not_answer_is_given_up_on(server: Server, call: str) -> None:
    """After `read_timeout_s`."""
    released = threading.Event()

    def hang(handler: Handler) -> None:
        released.wait(30)
        handler.close_connection = True

    server.script = hang
    with closing(GcsObjectStore("lake", endpoint=server.endpoint, read_timeout_s=0.1)) as impatient:
        with pytest.raises(StoreUnavailable, match="ReadTimeout"):
            CALLS[call](impatient)
        released.set()


@pytest.mark.parametrize("call", ["create", "replace", "describe", "list", "folders"])
def test_an_answer_that_is_cut_off_or_no_json_is_the_worlds_fault(
    server: Server, store: GcsObjectStore, call: str
) -> None:
    """Also where the status was 200."""
    server.script = lambda handler: handler.answer(200, b'{"generation": "1", "si')
    with pytest.raises(StoreUnavailable):
        CALLS[call](store)
    server.script = lambda handler: handler.answer(200, b'{"generation": "1", "si', length=1000)
    with pytest.raises(StoreUnavailable):
        CALLS[call](store)


@pytest.mark.parametrize("call", ["create", "replace", "describe"])
def test_an_answer_of_something_else_than_gcs_is_not_believed(server: Server, store: GcsObjectStore, call: str) -> None:
    """A generation and a checksum are what an acknowledgement is."""
    server.script = lambda handler: handler.answer(200, b'{"hello": "world"}')
    with pytest.raises(StoreUnavailable, match="is this really GCS"):
        CALLS[call](store)


@pytest.mark.parametrize("media", [b"bod", b"body!", b"BODY"])
def test_a_damaged_body_is_not_given_out(server: Server, store: GcsObjectStore, media: bytes) -> None:
    """Size and CRC-32C are checked against what the object is said to be."""
    info = {"name": "a", "size": "4", "generation": "7", "crc32c": crc32c(b"body")}

    def script(handler: Handler) -> None:
        handler.answer(200, media if "alt=media" in handler.path else json.dumps(info).encode())

    server.script = script
    with pytest.raises(StoreUnavailable, match="damaged"):
        store.read("a")


def test_a_body_that_is_cut_off_is_the_worlds_fault(server: Server, store: GcsObjectStore) -> None:
    """The connection ends before the promised length."""
    info = {"name": "a", "size": "4", "generation": "7", "crc32c": crc32c(b"body")}

    def script(handler: Handler) -> None:
        if "alt=media" in handler.path:
            handler.answer(200, b"bo", length=4)
        else:
            handler.answer(200, json.dumps(info).encode())

    server.script = script
    with pytest.raises(StoreUnavailable):
        store.read("a")


def test_a_read_is_pinned_to_the_generation_it_described(server: Server, store: GcsObjectStore) -> None:
    """Replaced in between, the old generation is gone: the new one is read, info and body alike."""
    bodies = {"7": b"old", "8": b"newer"}
    current = iter(["7", "8"])

    def script(handler: Handler) -> None:
        asked = parse_qs(urlsplit(handler.path).query)
        if "alt" not in asked:
            generation = next(current)
            info = {"name": "a", "size": str(len(bodies[generation])), "generation": generation}
            handler.answer(200, json.dumps({**info, "crc32c": crc32c(bodies[generation])}).encode())
        elif asked["generation"] == ["8"]:
            handler.answer(200, bodies["8"])
        else:
            handler.answer(404)

    server.script = script
    info, body = store.read("a")
    assert (info.generation, body) == (8, b"newer")


def test_a_list_goes_on_until_there_is_no_next_page(server: Server, store: GcsObjectStore) -> None:
    """The emulators give everything at once, Google 1,000 a page. Start and prefix go to the server."""
    pages = {None: (["raw/a", "raw/b"], "t1"), "t1": ([], "t2"), "t2": (["raw/c"], None)}

    def script(handler: Handler) -> None:
        asked = parse_qs(urlsplit(handler.path).query)
        found, token = pages[asked.get("pageToken", [None])[0]]
        assert asked["prefix"] == ["raw/"]
        assert asked["startOffset"] == ["raw/a"]
        items = [{"name": name, "size": "0", "generation": "1", "crc32c": "AAAAAA=="} for name in found]
        answer = {"items": items, "nextPageToken": token} if token else {"items": items}
        handler.answer(200, json.dumps(answer).encode())

    server.script = script
    assert names(store.list("raw/", start="raw/a")) == ["raw/a", "raw/b", "raw/c"]
    assert len(server.requests) == 3


def test_a_create_is_one_request_whatever_the_size_of_the_body(server: Server, store: GcsObjectStore) -> None:
    """Create-only, with its checksum, not encoded: never a resumable session, which may finish days later."""
    body = bytes(range(256)) * 40_000

    def script(handler: Handler) -> None:
        asked = parse_qs(urlsplit(handler.path).query)
        assert asked["uploadType"] == ["multipart"]
        assert asked["ifGenerationMatch"] == ["0"]
        assert "content-encoding" not in handler.headers
        handler.answer(200, json.dumps({"size": str(len(body)), "generation": "9", "crc32c": crc32c(body)}).encode())

    server.script = script
    assert put(store, "large", body).generation == 9
    assert len(server.requests) == 1
    assert body in server.bodies[0]
    assert json.dumps(crc32c(body)).encode() in server.bodies[0]


def test_nobody_listening_is_the_worlds_fault() -> None:
    """A port that refuses."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        store = GcsObjectStore("lake", endpoint=f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(StoreUnavailable, match="ConnectionError"):
            put(store, "a")


def test_missing_credentials_are_access_denied(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Said at the first call, not when the store is made."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{tmp_path}/not-there.json")
    store = GcsObjectStore("lake")
    with pytest.raises(AccessDenied, match="DefaultCredentialsError"):
        store.bucket_exists()
