"""Objects in Google Cloud Storage, or in an emulator of it.

One attempt a call, without exception: the library's own retries are off everywhere (a retried create whose first answer
was lost would lose against itself), and every body goes up in one multipart request, whatever its size. The library
would switch to a resumable session above 8 MiB, and such a session may still finish days after its writer gave up.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import Any
from urllib.parse import quote

import google.auth
import google_crc32c
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

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
from streamlake.domain.model.times import epoch_ms
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore, StoreAdmin, check_name

_EMULATOR = "STORAGE_EMULATOR_HOST"
_MAKE_IT = "`streamlake doctor --create-bucket` makes it"
_FIELDS = "name,size,generation,crc32c,metadata,timeCreated"
# A reader that loses this many races in a row against replacing writers says so instead of looping for ever.
_READ_RACES = 20
# Real GCS: 'Provided CRC32C "..." doesn't match calculated CRC32C "..."'; the emulator speaks of a hash.
_CHECKSUM_REFUSED = re.compile("crc32c|checksum|hash", re.IGNORECASE)

# What one call can raise: the library wraps some of what lies below it, and not all.
FAULTS: tuple[type[Exception], ...] = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    InvalidResponse,
    DataCorruption,
    OSError,
)


class GcsObjectStore(ObjectStore, StoreAdmin):
    """One bucket, and in it the names below `prefix`.

    With `endpoint`, else with `STORAGE_EMULATOR_HOST` in the environment, this speaks to an emulator, without
    credentials; else to Google, with the application default credentials. Nothing is opened before the first call, and
    a forked child opens its own. `connect_timeout_s` bounds connecting and each step of sending, `read_timeout_s` each
    wait for an answer. `pool_size` is how many threads can work without opening connections anew.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        project: str | None = None,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 30.0,
        pool_size: int = 32,
        page_size: int = 1000,
    ) -> None:
        prefix = prefix.strip("/")
        if prefix:
            check_name(prefix)
        endpoint = endpoint or os.environ.get(_EMULATOR)
        if endpoint and "://" not in endpoint:
            endpoint = f"http://{endpoint}"  # as the clients of other languages take it
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint = endpoint
        self._project = project
        self._timeout = (connect_timeout_s, read_timeout_s)
        self._pool_size = pool_size
        self._page_size = page_size
        self._lock = Lock()
        self._opened: tuple[int, storage.Client] | None = None

    def create(
        self, name: str, body: bytes, *, content_type: str, metadata: Mapping[str, str], crc32c: str | None = None
    ) -> ObjectInfo:
        resource = {"metadata": dict(metadata), "crc32c": crc32c or _crc32c(body)}
        return self._upload(name, body, content_type, resource, if_generation=0, conflict=AlreadyExists)

    def replace(self, name: str, body: bytes, *, content_type: str, if_generation: int) -> ObjectInfo:
        resource = {"crc32c": _crc32c(body)}
        return self._upload(name, body, content_type, resource, if_generation, conflict=GenerationChanged)

    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        for _ in range(_READ_RACES):
            info = self.describe(name)
            try:
                with self._errors(f"read {name}", absent=ObjectMissing):
                    # Pinned to the generation described: it is answered, or it is gone.
                    blob = self._blob(name, info.generation)
                    body: bytes = blob.download_as_bytes(
                        raw_download=True, single_shot_download=True, checksum=None, retry=None, timeout=self._timeout
                    )
            except ObjectMissing:
                continue
            if (len(body), _crc32c(body)) != (info.size, info.crc32c):
                raise StoreUnavailable(f"read {name}: the body arrived damaged (CRC-32C is not {info.crc32c})")
            return info, body
        raise StoreUnavailable(f"read {name}: replaced again and again while it was read")

    def describe(self, name: str) -> ObjectInfo:
        try:
            with self._errors(f"describe {name}", absent=ObjectMissing):
                blob = self._blob(name)
                blob.reload(retry=None, timeout=self._timeout)
                return self._info(blob)
        except ObjectMissing as error:
            # GCS answers 404 for both; only a missing bucket cannot be listed.
            if not self.bucket_exists():
                raise BucketMissing(f"gs://{self._bucket} does not exist; {_MAKE_IT}") from error
            raise

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        pages = self._pages(prefix, start=start, fields=f"items({_FIELDS}),nextPageToken")
        for page in pages:
            with self._errors(f"list {prefix}"):
                # Straight from the answer: a Blob an object costs more than all the rest of a listing.
                infos = [self._listed(resource) for resource in page.raw_page.get("items", ())]
            yield from infos

    def folders(self, prefix: str) -> Sequence[str]:
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"a folder's prefix ends in '/': {prefix!r}")
        below = len(self._prefix) + len(prefix)
        pages = self._pages(prefix, delimiter="/", fields="prefixes,nextPageToken")
        return sorted(folder[below:-1] for page in pages for folder in page.prefixes)

    def close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            opened[1].close()

    def bucket_exists(self) -> bool:
        # Listing is what readers and writers may do; buckets.get needs a role of its own.
        try:
            with self._errors("list the bucket"):
                next(
                    iter(self._client().list_blobs(self._bucket, max_results=1, retry=None, timeout=self._timeout)),
                    None,
                )
        except BucketMissing:
            return False
        return True

    def create_bucket(self) -> None:
        with self._errors("create the bucket"):
            client = self._client()
            if client.project is None:
                raise SettingsInvalid(f"create the bucket gs://{self._bucket}: set GOOGLE_CLOUD_PROJECT")
            try:
                client.create_bucket(self._bucket, retry=None, timeout=self._timeout)
            except api.Conflict as error:
                # Ours already, or somebody else's: then looking is AccessDenied.
                if not self.bucket_exists():
                    raise StoreUnavailable(f"create the bucket gs://{self._bucket}: a conflict") from error

    def _upload(
        self,
        name: str,
        body: bytes,
        content_type: str,
        resource: Mapping[str, object],
        if_generation: int,
        conflict: type[StreamLakeError],
    ) -> ObjectInfo:
        check_name(name)
        boundary = uuid.uuid4().hex
        described = json.dumps({**resource, "name": self._prefix + name, "contentType": content_type})
        head = (
            f"--{boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{described}\r\n"
            f"--{boundary}\r\ncontent-type: {content_type}\r\n\r\n"
        )
        # One copy of the body; the library's own multipart makes four.
        content = b"".join((head.encode(), body, f"\r\n--{boundary}--".encode()))
        with self._errors(f"write {name}", conflict=conflict):
            client = self._client()
            answer = _session(client).post(
                f"{client.api_endpoint}/upload/storage/v1/b/{quote(self._bucket, safe='')}/o",
                params={"uploadType": "multipart", "ifGenerationMatch": str(if_generation), "fields": _FIELDS},
                headers={"content-type": f'multipart/related; boundary="{boundary}"'},
                data=content,
                timeout=self._timeout,
                allow_redirects=False,
            )
            if answer.status_code != http.client.OK:
                raise api.from_http_response(answer)
            written: dict[str, Any] = answer.json()
            return _checked_info(
                name, written.get("size"), written.get("generation"), written.get("crc32c"), written.get("metadata")
            )

    def _blob(self, name: str, generation: int | None = None) -> storage.Blob:
        check_name(name)
        return self._client().bucket(self._bucket).blob(self._prefix + name, generation=generation)

    def _info(self, blob: storage.Blob) -> ObjectInfo:
        name = blob.name[len(self._prefix) :]
        return _checked_info(name, blob.size, blob.generation, blob.crc32c, blob.metadata, blob.time_created)

    def _listed(self, resource: Mapping[str, Any]) -> ObjectInfo:
        created = resource.get("timeCreated")
        return _checked_info(
            resource["name"][len(self._prefix) :],
            resource.get("size"),
            resource.get("generation"),
            resource.get("crc32c"),
            resource.get("metadata"),
            None if created is None else datetime.fromisoformat(created),
        )

    def _pages(self, prefix: str, *, fields: str, start: str = "", delimiter: str | None = None) -> Iterator[Any]:
        with self._errors(f"list {prefix}"):
            pages = (
                self._client()
                .list_blobs(
                    self._bucket,
                    prefix=self._prefix + prefix,
                    start_offset=self._prefix + start if start else None,
                    delimiter=delimiter,
                    fields=fields,
                    page_size=self._page_size,
                    retry=None,
                    timeout=self._timeout,
                )
                .pages
            )
        while True:
            with self._errors(f"list {prefix}"):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _client(self) -> storage.Client:
        with self._lock:
            # Connections must not be shared across a fork: the parent's stay the parent's.
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = (os.getpid(), self._open())
            return self._opened[1]

    def _open(self) -> storage.Client:
        if self._endpoint:
            client = storage.Client(
                project=self._project or "emulator",
                credentials=AnonymousCredentials(),
                client_options={"api_endpoint": self._endpoint},
            )
        else:
            credentials, project = google.auth.default(scopes=storage.Client.SCOPE)
            client = storage.Client(project=self._project or project, credentials=credentials)
        # From 3.17 the first calls ask for the bucket's own metadata too, in a background thread, with retries and even
        # with tracing off: a request nobody wants, and a permission (buckets.get) that landing does not need.
        client._bucket_metadata_cache = None  # noqa: SLF001
        session = _session(client)
        if not session.is_mtls:  # an mTLS session has an adapter that must stay
            for scheme in ("https://", "http://"):
                session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=self._pool_size))
        return client

    @contextmanager
    def _errors(
        self,
        what: str,
        *,
        absent: type[StreamLakeError] = BucketMissing,
        conflict: type[StreamLakeError] = StoreUnavailable,
    ) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            raise translated(error, f"gs://{self._bucket}: {what}", absent=absent, conflict=conflict) from error


def translated(
    error: Exception, what: str, *, absent: type[StreamLakeError], conflict: type[StreamLakeError]
) -> StreamLakeError:
    """The same fault in the words of the domain: `absent` is what 404 means here, `conflict` what 412 means."""
    if isinstance(error, auth.GoogleAuthError):
        # Compute Engine wraps the metadata server's silence into a RefreshError without marking it as retryable.
        passes = (
            error.retryable
            or isinstance(error, auth.TransportError)
            or isinstance(error.__cause__, auth.TransportError)
        )
        return (StoreUnavailable if passes else AccessDenied)(f"{what}: credentials: {type(error).__name__}")
    if isinstance(
        error, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)
    ):
        return SettingsInvalid(f"{what}: the endpoint is not a URL that can be called")
    if isinstance(error, api.GoogleAPICallError):
        status, reason = error.code, error.message
    elif isinstance(error, InvalidResponse):
        status, reason = error.response.status_code, ""
    else:
        return StoreUnavailable(f"{what}: {type(error).__name__}")
    kind = _kind_of_status(int(status or 0), reason, absent, conflict)
    told = f"{what}: {int(status or 0)} {' '.join(str(reason).split())[:300]}".rstrip()
    return kind(f"{told}; {_MAKE_IT}" if kind is BucketMissing else told)


def _kind_of_status(
    status: int, reason: str, absent: type[StreamLakeError], conflict: type[StreamLakeError]
) -> type[StreamLakeError]:
    if status in (401, 403):
        return AccessDenied
    if status == 404:
        return absent
    if status == 412:
        return conflict
    if status in (408, 409, 429) or (status == 400 and _CHECKSUM_REFUSED.search(reason)):
        return StoreUnavailable
    # Any other 4xx is a request that GCS will never take (a requester-pays bucket, too much metadata): waiting alone
    # does not mend it.
    return OperatorFault if 400 <= status < 500 else StoreUnavailable


def _checked_info(
    name: str,
    size: object,
    generation: object,
    crc32c: object,
    metadata: Mapping[str, str] | None,
    created: datetime | None = None,
) -> ObjectInfo:
    if not (generation and isinstance(crc32c, str) and size is not None):
        raise StoreUnavailable(f"{name}: the answer has no generation, size or checksum: is this really GCS?")
    created_ms = None if created is None else epoch_ms(created)
    return ObjectInfo(name, int(str(size)), int(str(generation)), crc32c, dict(metadata or {}), created_ms)


def _session(client: storage.Client) -> Any:
    """The client's authorised session. The library has no public name for it, and no other way to size its pool."""
    return client._http  # noqa: SLF001


def _crc32c(body: bytes) -> str:
    return base64.b64encode(google_crc32c.value(body).to_bytes(4, "big")).decode("ascii")
