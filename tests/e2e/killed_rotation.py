"""A rotation killed at random points while another process writes: nobody's records are lost, and the next one ends it.

`python -m tests.e2e.killed_rotation HOME KILLS SEED` prints one JSON line of where the kills landed, or dies on the
first broken promise.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from entrenous import Client
from entrenous_consent.custody import Custody
from entrenous_consent.errors import Unauthentic
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import Keyring
from entrenous_consent.sqlite import SQLiteStore
from entrenous_consent.upkeep import rotate
from tests.shop import Clock, Shop

PEOPLE = 120
CHOICES = {"personalize": True, "measure": True}


def custody_of(shop: Shop, client: Client) -> tuple[Custody, SQLiteStore, Counters]:
    """Return a custody of its own on the shop's files, as another process would open it."""
    store, counters = SQLiteStore(shop.home / "state" / "visitors.db"), Counters(shop.home / "state" / "counters")
    keyring = Keyring(shop.home / "keys" / "keyring", shop.provider)
    policy = client.policy
    return Custody(store, keyring, counters, tenant=policy.tenant, epoch=policy.epoch), store, counters


def child(shop: Shop, client: Client, ready: int) -> None:
    """Rotate, on a store and a keyring of its own; never returns."""
    status = 1
    try:
        custody, _, _ = custody_of(shop, client)
        os.write(ready, b"!")
        rotate(custody, shop.clock())
        status = 0
    finally:
        os._exit(status)


def run(shop: Shop, client: Client, delay: float, meanwhile: int) -> bool:
    """Have a child rotate, write some events beside it, kill it after `delay`; say whether it came to its end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        child(shop, client, writing)
    os.close(writing)
    os.read(reading, 1)
    until = time.monotonic() + delay
    for number in range(meanwhile):
        assert client.visitor(f"visitor-{number}").observe("view_item", category="boots").accepted
        if time.monotonic() > until:
            break
    time.sleep(max(0.0, until - time.monotonic()))
    os.kill(pid, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a rotation failed by itself"
    return os.WIFEXITED(status)


def views(client: Client, number: int) -> float:
    held = client.visitor(f"visitor-{number}").export().data
    return held["purposes"]["personalize"]["features"]["visit_views_7d"]  # type: ignore[no-any-return]


def readable(shop: Shop, client: Client, copy: Path) -> int:
    """Return how many people a copy of the store still gives away, with every key of today."""
    custody, store, counters = custody_of(shop, client)
    custody.store = old = SQLiteStore(copy / "visitors.db")
    found = 0
    for number in range(PEOPLE):
        handle = client.visitor(f"visitor-{number}")._handle
        try:
            found += custody.standing(handle, client.policy, shop.clock(), move=False) is not None
        except Unauthentic:
            continue
    for part in (old, store, counters):
        part.close()
    return found


def main(home: Path, kills: int, seed: int) -> None:
    chance, shop, where = random.Random(seed), Shop(home, Clock()), Counter[str]()
    client = shop.open(sweep_seconds=0)
    for number in range(PEOPLE):
        assert client.visitor(f"visitor-{number}").consent(CHOICES).accepted
    seen, longest = Counter[int](), 0.05
    for turn in range(kills):
        copy = home / f"copy-{turn}"
        shutil.copytree(home / "state", copy)
        before = set(client._keyring._keys["generations"])
        ended = run(shop, client, chance.uniform(0, longest), meanwhile=3)
        longest *= 0.9 if ended else 1.1  # so that kills fall before its end about as often as after, on any machine
        client._keyring._reload()
        after = set(client._keyring._keys["generations"])
        where["after" if ended else "before" if after == before else "between" if before & after else "destroyed"] += 1
        for number in range(PEOPLE):  # nobody is lost, whatever was killed
            held = views(client, number)
            assert held >= seen[number], f"visitor {number} lost what was acknowledged"
            seen[number] = int(held)
        client.rotate()  # the next one ends it
        client._keyring._reload()
        assert len(client._keyring._keys["generations"]) == 1
        assert readable(shop, client, copy) == 0, "a copy from before opens"
        assert views(client, turn % PEOPLE) == seen[turn % PEOPLE]
        shutil.rmtree(copy)
    client.close()
    print(json.dumps({"where": where, "views": sum(seen.values())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
