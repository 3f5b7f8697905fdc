"""What serves, as signed files: for a browser, an app or another worker to fetch here and to verify for themselves.

Open without a key: everything here is what the publisher put into the open already.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from entrenous import Client
from entrenous_edge.answers import Problem, answer
from entrenous_edge.openapi import document

__all__ = ["Published"]

_FOREVER = "public, max-age=31536000, immutable"
_BRIEFLY = "public, max-age=60"


class Published:
    """The routes of what is published.

    Args:
        client: whose updater fetched it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def about(self, _: Request) -> Response:
        """Say what serves, and where its signed files are."""
        bundle, policy = self._client.bundle, self._client.policy
        told = {"name": bundle.name, "version": bundle.version, "expires": bundle.expires} if bundle else None
        return answer(
            {
                "policy": {"tenant": policy.tenant, "version": policy.version},
                "bundle": told,
                "repository": "/v1/bundle/",
                "starts_at": "/v1/bundle/metadata/timestamp.json",
            }
        )

    async def file(self, request: Request) -> Response:
        """Return one file of the repository."""
        name = request.path_params["name"]
        data = await run_in_threadpool(self._client.published, name)
        if data is None:
            raise Problem("not_found", "no such file; start at metadata/timestamp.json")
        kept = _BRIEFLY if name == "metadata/timestamp.json" else _FOREVER
        return Response(data, headers={"Cache-Control": kept}, media_type="application/octet-stream")

    async def openapi(self, _: Request) -> Response:
        """Return the description of this port."""
        return JSONResponse(document(), headers={"Cache-Control": _BRIEFLY})
