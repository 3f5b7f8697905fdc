"""The same server with nothing behind it: a raw ASGI reply, for what a decision is compared with."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn

BODY = b'{"status":"alive"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def reply(scope: Any, receive: Any, send: Any) -> None:
    """Answer every call with the same bytes; its body is not even read."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})


def main() -> None:
    """Serve on any port of this host, and say which."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        config = uvicorn.Config(
            reply,
            loop="uvloop",
            http="httptools",
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            lifespan="off",
        )
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
