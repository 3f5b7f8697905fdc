"""A round of messages killed at random points, over and over: each trigger leaves exactly once, under one id.

`python -m tests.e2e.killed_messages HOME KILLS SEED` prints one JSON line of where the kills landed, or dies on the
first broken promise. Each round arms some visitors, lets their triggers fall due, and has a child raise and send; the
parent kills it after a random time, sees what is on disk, and has another child finish.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from entrenous import Client
from entrenous.active import activate
from entrenous.messages.raising import raise_messages
from entrenous.messages.webhooks import Endpoint, parse_endpoint, send_messages
from entrenous_consent.audit import read_entry
from entrenous_consent.custody import Custody
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import Keyring
from entrenous_consent.messages import read_message
from entrenous_consent.sqlite import SQLiteStore
from tests.e2e.forked import killed_after
from tests.messages import POLICY_TEXT
from tests.segments import trigger
from tests.shop import DAY, Clock, Shop

ARMED = 4
ENDPOINTS = {"reminder": parse_endpoint("http://127.0.0.1:9/hook", place="x")}


class FileCourier:
    """A recipient that is a file: one line for each delivery."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def deliver(self, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, headers["webhook-id"].encode() + b" " + body.hex().encode() + b"\n")
        os.close(fd)

    def taken(self) -> list[tuple[str, bytes]]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [(name, bytes.fromhex(body)) for name, _, body in (line.partition(" ") for line in lines)]


def child(shop: Shop, client: Client, courier: FileCourier, ready: int | None) -> None:
    """Raise and send, on a store and a keyring of its own; never returns."""
    status = 1
    try:
        store, counters = SQLiteStore(shop.home / "state" / "visitors.db"), Counters(shop.home / "state" / "counters")
        keyring = Keyring(shop.home / "keys" / "keyring", shop.provider)
        policy = client.policy
        custody = Custody(store, keyring, counters, tenant=policy.tenant, epoch=policy.epoch)
        active = activate(policy, client._engine.active.bundle, keyring, scorers={})
        if ready is not None:
            os.write(ready, b"!")
        raise_messages(custody, active, ENDPOINTS, shop.clock())
        send_messages(custody, policy, ENDPOINTS, courier, shop.clock())
        status = 0
    finally:
        os._exit(status)


def main(home: Path, kills: int, seed: int) -> None:
    chance, shop, where = random.Random(seed), Shop(home, Clock()), Counter[str]()
    shop.policy.write_text(POLICY_TEXT)
    trigger(shop, {"name": "cart", "kind": "cart_abandoned", "message": "reminder"})
    client, courier = shop.open(crowd=True, release_seconds=0), FileCourier(home / "taken")
    longest = 0.02
    for turn in range(kills):
        for i in range(ARMED):
            visitor = client.visitor(f"visitor-{turn}-{i}")
            assert visitor.consent({"personalize": True, "message": True}).accepted
            assert visitor.observe("add_to_cart", value=1, currency="EUR").accepted
        shop.clock.now += DAY // 24
        ended = killed_after(lambda ready: child(shop, client, courier, ready), chance.uniform(0, longest))
        longest *= 0.9 if ended else 1.1  # so that kills fall before its end about as often as after, on any machine
        new = len(client.outbox()) - ARMED * turn
        assert 0 <= new <= ARMED, "something left twice"
        where["after" if ended else "before" if not new else "some" if new < ARMED else "all raised"] += 1
        assert killed_after(lambda ready: child(shop, client, courier, ready), None)
        left = client.outbox()
        assert len(left) == ARMED * (turn + 1), "something never left, or left twice"
        assert all(one.sent for one in left)
    names = Counter(read_message(one.data).recipient_id for one in client.outbox())
    assert len(names) == ARMED * kills, "a visitor was told of twice"
    delivered = courier.taken()
    assert {body for _, body in delivered} == {one.data for one in client.outbox()}
    assert len({name for name, _ in delivered}) == ARMED * kills, "one message went under two ids"
    where["sent twice, under one id"] = len(delivered) - ARMED * kills
    store = client._engine.custody.store
    entries = [one for log in store.logs() for one in map(read_entry, store.log(log)) if one.kind == "message"]
    assert len(entries) == ARMED * kills, "the audit log and the outbox disagree"
    client.close()
    print(json.dumps({"where": where, "messages": len(names)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
