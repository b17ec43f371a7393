"""The front door: FastAPI around two raw ASGI routes, which are all that most requests ever see.

bytes -> uvicorn (httptools, bounded: protocol) -> app -> events -> IngestEvents -> ... -> deliveries -> answers
                                                    |-> catalog, /livez, /readyz, /metrics, /docs (FastAPI)
"""

from streamlake.entrypoints.http_api.app import create_app
from streamlake.entrypoints.http_api.options import ApiOptions
from streamlake.entrypoints.http_api.readiness import Readiness
from streamlake.entrypoints.http_api.server import Served, serve

__all__ = ["ApiOptions", "Readiness", "Served", "create_app", "serve"]
