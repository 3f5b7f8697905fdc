"""Two processes on one store, killed at random points, over and over; what they acknowledged must be there.

`python killed.py HOME ROUNDS SEED` prints one JSON line of what was acknowledged, or dies on the first broken promise.
Children are forked from this process, which has everything imported and holds no client of its own.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
from collections import Counter
from pathlib import Path

from entrenous import Client
from entrenous_consent.pseudonyms import handle_of, keyed
from tests.e2e.peer import open_client

STEADY = [f"steady-{number}" for number in range(4)]
WORKERS = 2


def _open(home: Path) -> Client:
    return open_client(home, flush_seconds=0)


def work(home: Path, worker: int, seed: int, pipe: int) -> None:
    """Observe for shared visitors, and let one of its own change its mind; say so before and after."""
    client, chance, number = _open(home), random.Random(seed), 0
    fickle = client.visitor(f"fickle-{worker}")
    while True:
        number += 1
        if chance.random() < 0.25:
            grant = chance.random() < 0.5
            os.write(pipe, f"start {worker} {int(grant)}\n".encode())
            if fickle.consent(client.example_choices if grant else {}).accepted:
                os.write(pipe, f"choice {worker} {int(grant)}\n".encode())
        else:
            who = chance.choice(STEADY)
            if client.visitor(who).observe("view_item", category="boots").accepted:
                os.write(pipe, f"event {worker} {who}\n".encode())


def fork(target, *arguments) -> int:
    """Run `target` in a child that never returns here."""
    child = os.fork()
    if child:
        return child
    try:
        target(*arguments)
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def check(home: Path, acknowledged: Counter[str], last: dict[int, set[int]], rounds: int) -> None:
    """Compare what a fresh process finds with what was acknowledged."""
    with _open(home) as client:
        for who in STEADY:
            views = client.visitor(who).export().data["purposes"]["personalize"]["features"]["visit_views_7d"]
            assert acknowledged[who] <= views <= acknowledged[who] + WORKERS * rounds, (who, views, acknowledged[who])
        store, keyring = client._engine.custody.store, client._engine.custody.keyring
        for worker, possible in last.items():
            visitor = client.visitor(f"fickle-{worker}")
            granted = visitor.decide("promotion", "none").margin is not None
            assert int(granted) in possible, (worker, granted, possible)
            if not granted:
                handle = handle_of(f"fickle-{worker}", keyed(keyring.boundary))
                now = client._engine.clock()
                for purpose in client.policy.purposes:
                    key = keyring.epoch_key(purpose, now // client.policy.epoch)
                    assert store.read(keyed(key)(handle)[:8], now) is None, purpose


def main() -> None:
    home, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    with _open(home) as client:
        for who in STEADY:
            assert client.visitor(who).consent(client.example_choices).accepted
    acknowledged: Counter[str] = Counter()
    last: dict[int, set[int]] = {}
    choices = 0
    for turn in range(rounds):
        read, write = os.pipe()
        children = [fork(work, home, worker, chance.getrandbits(32), write) for worker in range(WORKERS)]
        os.close(write)
        wanted, said = chance.randrange(1, 60), b""
        while said.count(b"\n") < wanted and select.select([read], [], [], 20)[0]:
            said += os.read(read, 65_536)
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            _, status = os.waitpid(child, 0)
            assert os.WTERMSIG(status) == signal.SIGKILL, "a worker ended by itself"
        while part := os.read(read, 65_536):
            said += part
        os.close(read)
        for line in said.decode().splitlines():
            verb, worker, what = line.split()
            if verb == "event":
                acknowledged[what] += 1
            elif verb == "start":
                last.setdefault(int(worker), {0}).add(int(what))
            else:
                last[int(worker)] = {int(what)}
                choices += 1
        _, status = os.waitpid(fork(check, home, acknowledged, last, turn + 1), 0)
        assert status == 0, f"round {turn}"
    print(json.dumps({"kills": rounds * WORKERS, "events": acknowledged.total(), "choices": choices}))


if __name__ == "__main__":
    main()
