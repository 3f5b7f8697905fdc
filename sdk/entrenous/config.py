"""What a client runs on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from entrenous.messages.sending import Sink
from entrenous.messages.webhooks import Courier, HttpCourier
from entrenous.updates.deployment import Deployment
from entrenous.updates.fetch import Source
from entrenous_consent.keys import KeyProvider

__all__ = ["Config", "system_clock"]


def system_clock() -> int:
    """Return the system's time in Unix seconds."""
    return int(time.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a client runs on.

    Attributes:
        source: where the signed policy and bundle are published: a directory, an `https://` address, or any `Source`.
        deployment: what is built in: the trusted root, whose policy, which bundle, floors and limits.
        state: the directory of the store, and of the updater's state in `updates`. keys: the directory of the keyring,
            another one.
        key_provider: where the root key is; a 0600 file in `keys` by default.
        clock: of events and decisions, Unix seconds. updates_clock: of the updater and of staleness; the system's,
            unless a replay or a test sets it. Where both are set they run at one pace.
        public_keys: see `Keyring`; for demonstrations only.
        most_store_bytes: the most the store may grow to.
        flush_seconds: how often receipts reach it and other processes' updates are noticed; 0 for `flush` calls only.
        refresh_seconds: how often the publisher is asked; 0 for `refresh` calls only.
        sweep_seconds: how often it is looked whether a day has passed since the store was last swept; 0 for `sweep`
            calls only.
        crowd: this store holds many people, so that sums over them may be released. A device of one person has no
            crowd to hide in, and sends nothing.
        collector: where reports go: an `https://` address, or any `Sink`; None keeps them in the outbox.
        release_seconds: how often it is looked whether a report is due, and what waits is sent; 0 for `release` and
            `send` calls only.
        webhooks: by message, where it goes: an `https://` address whose host the policy names for it. Only what is
            named here is raised, and only with `crowd`.
        courier: who carries messages there. message_seconds: how often it is looked whether one is due, and what waits
            is sent; 0 for `raise_messages` and `send_messages` calls only.
    """

    source: Path | str | Source
    deployment: Deployment
    state: Path
    keys: Path
    key_provider: KeyProvider | None = None
    clock: Callable[[], int] = system_clock
    updates_clock: Callable[[], int] = system_clock
    public_keys: Mapping[str, bytes] = field(default_factory=dict)
    most_store_bytes: int | None = None
    flush_seconds: float = 0.5
    refresh_seconds: float = 300.0
    sweep_seconds: float = 3600.0
    crowd: bool = False
    collector: str | Sink | None = None
    release_seconds: float = 600.0
    webhooks: Mapping[str, str] = field(default_factory=dict)
    courier: Courier = field(default_factory=HttpCourier)
    message_seconds: float = 60.0
