"""A policy that names messages and their recipients, and a recipient, for tests."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files

from entrenous import Client, Visitor
from entrenous_consent.audit import read_entry
from entrenous_consent.messages import Told, is_message, read_message
from tests.segments import trigger
from tests.shop import Shop

PURPOSE = """
[purposes.{key}]
title = {{ en = "Be reminded", fr = "Recevoir un rappel" }}
data_use = "marketing.communications.email"
dpv = "dpv:DirectMarketing"
legal_basis = "consent"
terminal = "consent"
consent_version = 1
lifetime_days = 180
[purposes.{key}.description]
en = "Tell the mailer when to send you a reminder."
fr = "Dire au prestataire d'envoi quand vous envoyer un rappel."
"""
MESSAGE = """
[[recipients]]
name = "{recipient}"
contact = "privacy@mailer.example"
country = "FR"

[[messages]]
name = "{name}"
purpose = "{purpose}"
recipient = "{recipient}"
host = "{host}"
"""
MAILER, PARCELS = "Mailer (fictional)", "Parcels (fictional)"
POLICY_TEXT = "".join(
    (
        (files("entrenous") / "demo" / "policy.toml").read_text("utf-8"),
        PURPOSE.format(key="message"),
        MESSAGE.format(name="reminder", purpose="message", recipient=MAILER, host="127.0.0.1"),
    )
)
"""The demonstration's policy, and a message to one recipient on this very host."""

SECOND = MESSAGE.format(name="delivery", purpose="message", recipient=PARCELS, host="hooks.parcels.example")


@dataclass
class Receiver:
    """A recipient on this very host, over real HTTP: what it was sent, and what it answers."""

    server: HTTPServer
    scheme: str = "http"
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """What it answers, one after the other; 204 from then on."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}/hook"

    def told(self) -> list[Told]:
        return [read_message(body) for _, _, body in self.received]


class _Server(HTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the handshake is no fault of the server's."""


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver until the block ends; behind TLS, where a context is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.received.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        receiver = Receiver(server, scheme="https" if tls else "http")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


CART = {"name": "cart", "kind": "cart_abandoned", "message": "reminder"}
TIP = {"name": "tip", "kind": "browse_abandoned", "purpose": "personalize", "delay_minutes": 10}
CONSENT = {"personalize": True, "history": True, "measure": True, "improve": True, "message": True}


def opened(shop: Shop, receiver: Receiver, *declared: dict, **more) -> Client:
    said = [{key: value for key, value in one.items() if value is not None} for one in declared or (CART,)]
    trigger(shop, *said, **more)
    return shop.open(crowd=True, release_seconds=0, message_seconds=0, webhooks={"reminder": receiver.url})


def consenting(client: Client, identifier: str = "customer-42", **without: bool) -> Visitor:
    visitor = client.visitor(identifier)
    assert visitor.consent(CONSENT | without).accepted
    return visitor


def filled(visitor: Visitor, **more) -> None:
    assert visitor.observe("add_to_cart", value=100, currency="EUR", **more).accepted


def round_(client: Client) -> int:
    """Raise and send; return how many were received."""
    made, sent = client.raise_messages(), client.send_messages()
    assert made.accepted, made
    assert sent.accepted, sent
    return sent.data["sent"]


def messages(client: Client) -> list[bytes]:
    return [one.data for one in client.outbox() if is_message(one.data)]


def audited(client: Client, kind: str) -> list:
    store = client._engine.custody.store
    return [one for log in store.logs() for one in map(read_entry, store.log(log)) if one.kind == kind]
