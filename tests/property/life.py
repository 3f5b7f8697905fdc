"""One process in the life of a consent: a client on a shop's files, told what to do, saying which purposes it touched.

`python -m tests.property.life` is the same thing as a process of its own: a JSON line in, a JSON line out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.shop import NOON, Clock

from entrenous import Client, Config, Deployment, Visitor, demo
from entrenous_consent.keys import FileKeyProvider


class Life:
    """A client that is opened, used and closed again."""

    def __init__(self) -> None:
        self.clock, self.client, self.touched = Clock(), None, set[str]()

    def ask(self, now: int, verb: str, *arguments: Any) -> list[Any]:
        """Do it; return the answer, and the purposes whose keys were unlocked or made meanwhile."""
        self.clock.now, self.touched = now, set()
        answer = getattr(self, verb)(*arguments)
        return [answer, sorted(self.touched - {"consent"})]

    def open(self, home: str) -> None:
        root = Path(home)
        self.client = Client.open(
            Config(
                source=root / "repository",
                deployment=Deployment(root=root / "root.json", tenant=demo.TENANT, bundle=demo.BUNDLE),
                state=root / "state",
                keys=root / "keys",
                key_provider=FileKeyProvider(root / "root.key"),
                public_keys=demo.PUBLIC_KEYS,
                clock=self.clock,
                updates_clock=lambda: NOON,
                flush_seconds=0,
                refresh_seconds=0,
                sweep_seconds=0,
            )
        )
        vault = self.client._engine.custody.vault
        vault.unlock, vault.create = self._told(vault.unlock, 1), self._told(vault.create, 0)

    def _told(self, real: Callable[..., Any], at: int) -> Callable[..., Any]:
        def work(*arguments: Any) -> Any:
            self.touched.add(arguments[at])
            return real(*arguments)

        return work

    def close(self) -> None:
        self.client.close()

    def die(self) -> None:
        os.kill(os.getpid(), 9)

    def visitor(self, name: str) -> Visitor:
        return self.client.visitor(name)

    def consent(self, name: str, choices: dict[str, bool]) -> list[Any]:
        outcome = self.visitor(name).consent(choices)
        return [outcome.accepted, outcome.cause]

    def object(self, name: str, purposes: list[str]) -> list[Any]:
        outcome = self.visitor(name).object(purposes)
        return [outcome.accepted, outcome.cause]

    def erase(self, name: str) -> list[Any]:
        outcome = self.visitor(name).erase()
        return [outcome.accepted, outcome.cause]

    def minor(self, name: str) -> str:
        return self.client.visitor(name, minor=True).decide("promotion", "none").cause

    def observe(self, name: str, event: str) -> str:
        return self.visitor(name).observe(event, category="boots").cause

    def correct(self, name: str) -> list[str]:
        return list(self.visitor(name).correct({"visit_taste_30d": "bags", "bought_orders_90d": None}).data["features"])

    def decide(self, name: str) -> list[Any]:
        return self._decided(self.visitor(name))

    def link(self, device: str, account: str) -> list[Any]:
        return self._decided(self.visitor(device).link(self.visitor(account)))

    @staticmethod
    def _decided(visitor: Visitor) -> list[Any]:
        decision = visitor.decide("promotion", "none")
        return [decision.cause, [purpose for purpose, _ in decision.receipt.basis.consents] if decision.receipt else []]

    def choices(self, name: str) -> list[list[str]]:
        told = self.visitor(name).choices().data
        return [told["granted"], told["refused"], told["ask"]]

    def export(self, name: str) -> list[str]:
        return sorted(self.visitor(name).export().data.get("purposes", []))

    def refresh(self) -> str:
        return self.client.refresh().cause

    def flush(self) -> None:
        self.client.flush()

    def sweep(self) -> None:
        self.client.sweep()


def main() -> None:
    life = Life()
    for line in sys.stdin:
        print(json.dumps(life.ask(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
