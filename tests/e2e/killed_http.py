"""Two workers on one store, killed at random points while clients call them, over and over; by HTTP alone.

`python -m tests.e2e.killed_http HOME ROUNDS SEED` prints one JSON line of what was acknowledged, or dies on the first
broken promise. A client does what a shop's server does: what was not acknowledged is sent again under the same id,
before anything else. So each event must be there once, neither lost nor counted twice, and each choice must stand.

Workers are forked from this process, which has everything imported and holds no client of its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from entrenous_edge.config import read_config
from entrenous_edge.serve import serve
from tests.shop import Clock, Shop
from tests.worker import KEY, configure, token_of

STEADY = [f"steady-{number}" for number in range(4)]
WORKERS = 2
CHOICES = {"personalize": True, "history": True, "measure": True, "improve": False}
READY_SECONDS = 30


@dataclass
class Known:
    """What one client knows: its events that were acknowledged, by visitor; the one that was not; what its own visitor
    may have chosen; how many choices and decisions were acknowledged."""

    events: Counter[str] = field(default_factory=Counter)
    owed: tuple[str, str] | None = None
    possible: set[bool] = field(default_factory=lambda: {False})
    choices: int = 0
    decisions: int = 0


class Caller:
    """A client of one worker."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """Return the answer to a call.

        Raises:
            OSError, HTTPException: there was none, or not all of it.
        """
        data = None if body is None else json.dumps(body)
        given = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", **(headers or {})}
        self._connection.request(method, path, data, given)
        with self._connection.getresponse() as answer:
            told = answer.read()
            assert answer.status == 200, (path, answer.status, told)
            return json.loads(told)

    def event(self, who: str, name: str) -> None:
        """Send one event until it is there, under an id of its own."""
        event = {"name": "view_item", "category": "boots", "id": name}
        (told,) = self.ask("POST", "/v1/events", {"visitor": who, "events": [event]})["outcomes"]
        assert told["accepted"] or told["cause"] == "duplicate", told


def call(port: int, worker: int, seed: int, known: Known, acknowledged: list[int]) -> None:
    """Call until the worker is gone."""
    caller, chance, fickle = Caller(port), random.Random(seed), f"fickle-{worker}"
    try:
        while True:
            drawn = chance.random()
            if drawn < 0.2:
                grant = chance.random() < 0.5
                known.possible.add(grant)
                choices = CHOICES if grant else dict.fromkeys(CHOICES, False)
                caller.ask("POST", "/v1/consent", {"choices": choices}, token_of(fickle))
                known.possible, known.choices = {grant}, known.choices + 1
            elif drawn < 0.6:
                caller.ask("POST", "/v1/decide", {"decisions": ["promotion"], "visitor": chance.choice(STEADY)})
                known.decisions += 1
            else:
                who, name = chance.choice(STEADY), f"{worker}-{chance.getrandbits(64):016x}"
                known.owed = who, name
                caller.event(who, name)
                known.events[who], known.owed = known.events[who] + 1, None
            acknowledged[0] += 1
    except (OSError, HTTPException):
        return


def check(port: int, clients: list[Known]) -> None:
    """Send what is owed again, and compare what there is with what was acknowledged, now and before."""
    caller = Caller(port)
    for known in clients:
        if known.owed is not None:
            who, name = known.owed
            caller.event(who, name)
            known.events[who], known.owed = known.events[who] + 1, None
    for who in STEADY:
        held = caller.ask("GET", "/v1/visitor", headers=token_of(who))["purposes"]["personalize"]
        sent = sum(known.events[who] for known in clients)
        assert held["features"]["visit_views_7d"] == sent, (who, held["features"], sent)
        numbers = [receipt["id"] for receipt in held["receipts"]]
        assert len(set(numbers)) == len(numbers), numbers
    for worker, known in enumerate(clients):
        granted = caller.ask("GET", "/v1/consent", headers=token_of(f"fickle-{worker}"))["granted"]
        assert bool(granted) in known.possible, (worker, granted, known.possible)
        known.possible = {bool(granted)}


def fork_worker(path: Path, home: Path) -> tuple[int, int]:
    """Run a worker in a child; return its process and its public port."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            os.dup2(os.open(home / "worker.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
            serve(read_config(path), lambda line: os.write(write, f"{line}\n".encode()) and None)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as told:
        line = told.readline()
    assert line.startswith("serving on "), (home / "worker.log").read_text()
    return child, int(line.partition(",")[0].rpartition(":")[2])


def round_of(workers: list[tuple[int, int]], clients: list[Known], chance: random.Random) -> None:
    """Let clients call until so many calls were acknowledged, then kill every worker, wherever it is."""
    acknowledged, wanted, ends = [0], chance.randrange(1, 60), monotonic() + READY_SECONDS
    with ThreadPoolExecutor(WORKERS) as pool:
        calling = [
            pool.submit(call, port, worker, chance.getrandbits(32), clients[worker], acknowledged)
            for worker, (_, port) in enumerate(workers)
        ]
        while acknowledged[0] < wanted and monotonic() < ends:
            sleep(chance.random() * 0.002)
        for process, _ in workers:
            os.kill(process, signal.SIGKILL)
        for told in calling:
            told.result()


def end(workers: list[tuple[int, int]]) -> None:
    """See that each was killed, and did not end by itself."""
    for process, _ in workers:
        os.kill(process, signal.SIGKILL)
    for process, _ in workers:
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), "a worker ended by itself"


def main() -> None:
    home, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    path = configure(Shop(home, Clock()))
    chance, clients = random.Random(seed), [Known() for _ in range(WORKERS)]
    for turn in range(rounds + 1):
        workers = [fork_worker(path, home) for _ in range(WORKERS)]
        try:
            if turn == 0:
                for who in STEADY:
                    Caller(workers[0][1]).ask("POST", "/v1/consent", {"choices": CHOICES}, token_of(who))
            check(workers[turn % WORKERS][1], clients)
            if turn < rounds:
                round_of(workers, clients, chance)
        finally:
            end(workers)
    events = sum((known.events for known in clients), Counter())
    told = {"kills": rounds * WORKERS, "events": events.total()}
    told |= {name: sum(getattr(known, name) for known in clients) for name in ("choices", "decisions")}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
