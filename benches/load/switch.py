"""`make switch`: bundles switched under load. Every answer is of one bundle, none fails, a poisoned one never serves.

Each version says its number in every arm's value and every tranche's name, so that an answer made of two would show.
Writes `docs/evidence/switch.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np
from benches.load.client import Seen, pace
from benches.load.shop import CHOICES, calls, shop, visited
from tests.shop import Shop
from tests.worker import Running

from entrenous.bundle import Bundle, encode_bundle, read_bundle

__all__ = ["Switched", "switched"]

PAGE = Path("docs/evidence/switch.md")
VISITORS, RATE = 32, 1_500


class Switched(NamedTuple):
    """What was seen: answers; versions that answered; answers of more than one; seconds that a switch took at most;
    seconds until a poisoned one was refused; what served then, and after a restart."""

    seen: Seen
    versions: int
    mixed: int
    slowest: float
    refused: float
    serving: int
    again: int


def numbered(bundle: Bundle, version: int) -> bytes:
    """Return a bundle that says its version in every answer."""
    rule = bundle.manifest.decisions["promotion"]
    tranches = tuple(f"{name.rstrip('0123456789')}{version}" for name in rule.tranches)
    arms = {name: replace(arm, value=f"{name}:{version}") for name, arm in rule.arms.items()}
    choice = dict(zip(tranches, (rule.choice[name] for name in rule.tranches), strict=True))
    decision = replace(rule, tranches=tranches, arms=arms, choice=choice, cap=None)
    manifest = replace(bundle.manifest, version=version, decisions={"promotion": decision})
    return encode_bundle(manifest, bundle.models)


def poisoned(data: bytes, version: int) -> bytes:
    """Return a bundle whose model does not say what was recorded."""
    read = read_bundle(data)
    margins = np.frombuffer(read.manifest.proofs["promotion"], "<f4") + np.float32(0.5)
    manifest = replace(read.manifest, version=version, proofs={"promotion": margins.tobytes()})
    return encode_bundle(manifest, read.models)


def said(body: bytes) -> str:
    """Return the version that an answer is of, or `mixed`, or what is wrong with it."""
    decision = json.loads(body)["decisions"]["promotion"]
    if "tranche" not in decision:
        return f"{decision['reason']} {decision.get('cause', '')}"
    value, tranche = decision["value"].rpartition(":")[2], decision["tranche"].lstrip("abcdefghijklmnopqrstuvwxyz_")
    return value if value == tranche else "mixed"


def switched(of: Shop, times: int, *, progress: Callable[[int], None] = lambda _: None) -> Switched:
    """Switch a worker's bundle so many times under load, then show it a poisoned one, then start it again."""
    first = read_bundle(of.bundle.read_bytes())
    of.bundle.write_bytes(numbered(first, 1))
    with visited(of, VISITORS) as worker:
        found: list[Seen] = []
        ended = threading.Event()

        def load() -> None:
            while not ended.is_set():
                found.append(pace(worker.port, calls(VISITORS), rate=RATE, seconds=2, read=said))

        loading = threading.Thread(target=load)
        loading.start()
        try:
            slowest = max(_switch(of, worker, numbered(first, version), progress) for version in range(2, times + 2))
            since = monotonic()
            of.bundle.write_bytes(poisoned(numbered(first, times + 2), times + 2))
            of.publish()
            outcome = worker.ask("POST", "/updates", admin=True)
            refused = monotonic() - since
            assert outcome.status == 409, outcome.data
        finally:
            ended.set()
            loading.join()
        serving = worker.ask("GET", "/readyz").json["bundle"]
    of.publish = lambda **_: None  # type: ignore[method-assign]
    with visited(of, 0) as restarted:
        again = restarted.ask("GET", "/readyz").json["bundle"]
    seen = Seen()
    for one in found:
        seen.took += one.took
        seen.statuses += one.statuses
        seen.said += one.said
        seen.lost += one.lost
    versions = [int(word) for word in seen.said if word.isdecimal()]
    return Switched(seen, len(versions), seen.said["mixed"], slowest, refused, serving, again)


def _switch(of: Shop, worker: Running, data: bytes, progress: Callable[[int], None]) -> float:
    of.bundle.write_bytes(data)
    of.publish()
    since = monotonic()
    outcome = worker.ask("POST", "/updates", admin=True)
    assert outcome.json["bundle"] == read_bundle(data).manifest.version, outcome.data
    assert worker.consent("visitor-0", CHOICES).status == 200, "a choice goes through meanwhile"
    progress(outcome.json["bundle"])
    return monotonic() - since


def main() -> int:
    """Run, and write the page; 1 where an answer failed or was mixed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=50)
    times = parser.parse_args().times
    found = switched(shop(), times, progress=lambda version: print(f"version {version} serves", flush=True))
    odd = {word: count for word, count in found.seen.said.items() if not word.isdecimal()}
    PAGE.write_text(f"""# Bundles switched under load
`make switch`: {times} switches at {RATE:,} decisions a second, {VISITORS} visitors, one process. Each bundle says its
version in every value and every tranche.

| | |
|---|---:|
| answered | {sum(found.seen.statuses.values()):,} |
| by status | {dict(found.seen.statuses)} |
| lost, or without a decision | {found.seen.lost}, {sum(odd.values())} |
| of more than one bundle | {found.mixed} |
| versions that answered | {found.versions} |
| a switch, from asking to serving, at most | {found.slowest:.2f} s |
| a poisoned bundle refused, from publishing on | {found.refused:.2f} s; it served nobody |
| what served then, and after a restart | {found.serving}, {found.again} |
""")
    print(PAGE.read_text())
    fine = set(found.seen.statuses) == {200} and not (odd or found.mixed or found.seen.lost)
    return 0 if fine and found.serving == found.again == times + 1 else 1


if __name__ == "__main__":
    sys.exit(main())
