"""A second process on a shop's store: takes one request a line on standard input, answers one JSON line each.

`python peer.py HOME` opens a client on the shop in HOME (root key in HOME/root.key, clock in HOME/clock).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from entrenous import Client, Config, Deployment, demo
from entrenous_consent.keys import FileKeyProvider
from tests.shop import NOON


def open_client(home: Path, **changes: object) -> Client:
    settings: dict[str, object] = {
        "source": home / "repository",
        "deployment": Deployment(root=home / "root.json", tenant=demo.TENANT, bundle=demo.BUNDLE),
        "state": home / "state",
        "keys": home / "keys",
        "key_provider": FileKeyProvider(home / "root.key"),
        "public_keys": demo.PUBLIC_KEYS,
        "clock": lambda: int((home / "clock").read_text()),
        "updates_clock": lambda: NOON,
        "refresh_seconds": 0,
    }
    return Client.open(Config(**(settings | changes)))  # type: ignore[arg-type]


def main() -> None:
    with open_client(Path(sys.argv[1])) as client:
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            identifier, verb, *arguments = json.loads(line)
            visitor = client.visitor(identifier)
            if verb == "decide":
                decision = visitor.decide("promotion", "none")
                answer = [decision.reason, decision.cause]
            elif verb == "receipt":
                receipt = visitor.decide("promotion", "none").receipt
                answer = [receipt.basis.policy, receipt.basis.bundle] if receipt else None
            elif verb == "erase":
                answer = [visitor.erase().cause]
            elif verb == "consent":
                answer = [visitor.consent(arguments[0]).accepted]
            elif verb == "refresh":
                answer = [client.refresh().cause]
            else:
                answer = [visitor.observe(arguments[0]).cause]
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
