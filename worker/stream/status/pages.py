"""`/` and `/status.json`, on the thread of the probes."""

from typing import Any

import faust
import orjson
from aiohttp import web

from worker.stream.status.document import Status
from worker.stream.status.page import JSON_HEADERS, page, page_headers


def add_status_pages(app: faust.App, status: Status) -> None:
    """Serves the page, and what it asks for each second."""

    @app.page("/")  # type: ignore[untyped-decorator]
    async def index(_self: Any, _request: Any) -> web.Response:
        """The status page."""
        return web.Response(text=page(), content_type="text/html", charset="utf-8", headers=page_headers())

    @app.page("/status.json")  # type: ignore[untyped-decorator]
    async def status_json(_self: Any, _request: Any) -> web.Response:
        """What it shows."""
        body = orjson.dumps(status.document())
        return web.Response(body=body, content_type="application/json", headers=JSON_HEADERS)
