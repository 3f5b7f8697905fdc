"""A release killed at random points, over and over: every window leaves exactly once, always with the same bytes.

`python -m tests.e2e.killed_release HOME KILLS SEED` prints one JSON line of where the kills landed, or dies on the
first broken promise. Each round exposes some visitors, lets their window close, and has a child release and send; the
parent kills it after a random time, sees what is on disk, and has another child finish. Noise and threshold are taken
away, so that whoever was counted twice, or not at all, shows.
"""

from __future__ import annotations

import json
import os
import random
import sys
from base64 import b64decode
from collections import Counter
from pathlib import Path

import entrenous.loop.reports
from entrenous import Client
from entrenous.active import activate
from entrenous.loop.ledger import Ledger
from entrenous.loop.release import LEDGER, release
from entrenous.loop.reports import read_report
from entrenous.messages.sending import send
from entrenous_consent.custody import Custody
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import Keyring
from entrenous_consent.sqlite import SQLiteStore
from tests.e2e.forked import killed_after
from tests.shop import DAY, Clock, Shop

EXPOSED = 6
CHOICES = {"personalize": True, "measure": True}


class FileSink:
    """A collector that is a file: one line for each delivery."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def deliver(self, report: bytes, signature: str) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, report.hex().encode() + b"\n")
        os.close(fd)
        assert len(b64decode(signature)) == 64

    def taken(self) -> list[bytes]:
        return [bytes.fromhex(line) for line in self._path.read_text().split()] if self._path.exists() else []


def child(shop: Shop, client: Client, sink: FileSink, ready: int | None) -> None:
    """Release and send, on a store and a keyring of its own; never returns."""
    status = 1
    try:
        store, counters = SQLiteStore(shop.home / "state" / "visitors.db"), Counters(shop.home / "state" / "counters")
        keyring = Keyring(shop.home / "keys" / "keyring", shop.provider)
        policy = client.policy
        custody = Custody(store, keyring, counters, tenant=policy.tenant, epoch=policy.epoch)
        active = activate(policy, client._engine.active.bundle, keyring, scorers={})
        if ready is not None:
            os.write(ready, b"!")
        release(custody, active, shop.clock())
        send(store, keyring, sink, shop.clock())
        status = 0
    finally:
        os._exit(status)


def main(home: Path, kills: int, seed: int) -> None:
    entrenous.loop.reports.discrete_laplace = lambda scale, below: 0  # type: ignore[assignment]
    entrenous.loop.reports.threshold = lambda *_: 1  # type: ignore[assignment]
    chance, shop, where = random.Random(seed), Shop(home, Clock()), Counter[str]()
    text = shop.policy.read_text().replace("windows_days = [30]", "windows_days = [1]")
    shop.policy.write_text(
        text.replace("window_days = 30", "window_days = 1").replace("every_days = 30", "every_days = 1")
    )
    client, sink = shop.open(crowd=True, release_seconds=0), FileSink(home / "sink")
    client.release()
    longest, exposed, before = 0.05, 0, {}
    for turn in range(kills):
        for i in range(EXPOSED):
            visitor = client.visitor(f"visitor-{turn}-{i}")
            assert visitor.consent(CHOICES).accepted
            visitor.decide("promotion", "none")
        exposed += EXPOSED
        shop.clock.now += 2 * DAY if turn == 0 else DAY
        ended = killed_after(lambda ready: child(shop, client, sink, ready), chance.uniform(0, longest))
        longest *= 0.9 if ended else 1.1  # so that kills fall before its end about as often as after, on any machine
        left = {one.id: one for one in client.outbox()}
        new = len(left) - len(before)
        assert new in (0, 1), "a window left twice"
        ledger = Ledger.unpack(client._engine.custody.store.read(LEDGER, shop.clock()).value)
        (account,) = ledger.accounts.values()
        assert account.releases == len(left), "the ledger and the outbox disagree"
        assert account.epsilon == (4.0 if left else 0.0)
        fresh = [one for one in left.values() if one.id not in before]
        sent = bool(fresh and fresh[0].sent)
        where["after" if ended else "before" if not new else "sent" if sent else "released, not sent"] += 1
        assert all(left[one].data == data for one, data in before.items()), "what left has changed"
        assert killed_after(lambda ready: child(shop, client, sink, ready), None)
        left = {one.id: one for one in client.outbox()}
        assert len(left) == turn + 1, "a window never left"
        assert all(one.sent for one in left.values())
        delivered = Counter(sink.taken())
        assert set(delivered) == {one.data for one in left.values()}, "something else was sent than was written"
        assert max(delivered.values()) <= 2
        where["sent twice, the same bytes"] = sum(count == 2 for count in delivered.values())
        before = {one: left[one].data for one in left}
    shop.clock.now += DAY
    assert killed_after(lambda ready: child(shop, client, sink, ready), None)
    reports = [read_report(one.data) for one in client.outbox()]
    counted = sum(sums[0] for report in reports for sums in report.cells.values() if sums is not None)
    assert counted == exposed, f"{exposed} were exposed, {counted} were counted"
    client.close()
    print(json.dumps({"where": where, "reports": len(reports), "counted": counted}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
