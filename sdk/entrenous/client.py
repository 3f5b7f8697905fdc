"""The front door: `Client` for an app, `Visitor` for the person at the device.

Opening a client may raise. From then on nothing does: a `Visitor` answers a `Decision` or an `Outcome` that says why
not.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
import threading
import weakref
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from entrenous import demo
from entrenous._background import Repeated
from entrenous.active import Active
from entrenous.bundle import Manifest
from entrenous.config import Config, system_clock
from entrenous.decision import Outcome
from entrenous.engine import Engine
from entrenous.importing.imports import Import
from entrenous.importing.mapping import AnyMapping
from entrenous.loop.release import release
from entrenous.messages.raising import raise_messages
from entrenous.messages.sending import HttpSink, Sink, public_key, send
from entrenous.messages.webhooks import parse_endpoints, send_messages, sending_alone, tidy_messages, webhook_key
from entrenous.rights import forget_known
from entrenous.serving import Serving, cause_of
from entrenous.supply import Supply
from entrenous.updates.mirror import published
from entrenous.visitor import Visitor
from entrenous_consent import audit
from entrenous_consent.custody import Custody
from entrenous_consent.errors import Malformed, Refusal, Unavailable
from entrenous_consent.files import KEYRING, ROOT_KEY, STORE
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import FileKeyProvider, Keyring, MemoryKeyProvider
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.pseudonyms import handle_of, keyed
from entrenous_consent.signals import read_signal
from entrenous_consent.sqlite import SQLiteStore
from entrenous_consent.store import Append, Emitted
from entrenous_consent.upkeep import rotate, sweep, sweep_daily

__all__ = ["Client", "Config", "Visitor", "system_clock"]

_LOG = logging.getLogger("entrenous")
_LAST_WAIT = 1.0
"""How long closing waits for a visit to the publisher that is under way, in seconds; then it ends by itself."""


class Client:
    """One app or worker process. Make it with `open` or `demo`; after a fork, make another.

    What waits is brought to the store at `close`, and at the end of the program if that was not called.
    """

    def __init__(self, serving: Serving, keyring: Keyring, sink: Sink | None, config: Config, files: ExitStack) -> None:
        self._serving, self._engine, self._boundary = serving, serving.engine, keyed(keyring.boundary)
        self._process, self._closing, self._closed = os.getpid(), files, threading.Lock()
        self._keyring, self._sink, self._engine.crowd = keyring, sink, config.crowd
        self._endpoints = parse_endpoints(config.webhooks)
        self._courier, self._state = config.courier, config.state
        self._flusher = self._updater = self._releaser = self._sweeper = self._messenger = None
        if config.flush_seconds > 0:
            self._flusher = Repeated(self._tick, config.flush_seconds, "flush")
        if config.refresh_seconds > 0:
            self._updater = Repeated(self._poll, config.refresh_seconds, "updates", jitter=True)
        if config.crowd and config.release_seconds > 0:
            self._releaser = Repeated(self._report, config.release_seconds, "reports", jitter=True)
        if config.crowd and self._endpoints and config.message_seconds > 0:
            self._messenger = Repeated(self._message, config.message_seconds, "messages", jitter=True)
        if config.sweep_seconds > 0:
            self._sweeper = Repeated(self._sweep_daily, config.sweep_seconds, "sweep", jitter=True)
        atexit.register(self.close)
        os.register_at_fork(after_in_child=partial(_after_fork, weakref.ref(self._engine)))

    @classmethod
    def open(cls, config: Config) -> Client:
        """Return a client on what the publisher signed, as `config` says where and how.

        The publisher is asked once. Where it can't be reached, or is refused, what was taken before serves; for that,
        its answer is awaited for two seconds at most.

        Raises:
            Missing, Malformed, Unauthentic, Unavailable: there is nothing that could serve: the repository can't be
                reached, is broken, or is not what it claims to be, and nothing was taken before; or the store or the
                keys cannot be used.
        """
        parse_endpoints(config.webhooks)  # what can't be sent to says so before anything is opened
        sink = HttpSink(config.collector) if isinstance(config.collector, str) else config.collector
        state = _directory(config.state)
        if _directory(config.keys).is_relative_to(state):
            raise Malformed(
                "lies in the directory of the store", place="config.keys", remedy="keep keys apart from data"
            )
        provider = config.key_provider or FileKeyProvider(config.keys / ROOT_KEY)
        keyring = Keyring(config.keys / KEYRING, provider, public=config.public_keys)
        supply = Supply(config.source, config.deployment, config.state / "updates", config.updates_clock)
        first = supply.first()
        policy = first[0].policy
        with ExitStack() as opened:
            store = SQLiteStore(config.state / STORE, most_bytes=config.most_store_bytes)
            opened.callback(store.close)
            counters = Counters(config.state / "counters")
            opened.callback(counters.close)
            custody = Custody(store, keyring, counters, tenant=policy.tenant, epoch=policy.epoch)
            serving = Serving.start(supply, first, keyring, custody, config.clock)
            return cls(serving, keyring, sink, config, opened.pop_all())

    @classmethod
    def demo(cls) -> Client:
        """Return a client that works at once and offline, on a small model that ships with the package.

        Its shop is generated, its signers made at the start and forgotten, its experiment key public, its store a
        temporary directory that goes with the client.
        """
        from entrenous.demo.signing import signed_now  # noqa: PLC0415 — loads the TUF client

        now = system_clock()
        home = Path(tempfile.mkdtemp(prefix="entrenous-demo-"))
        with ExitStack() as opened:
            opened.callback(shutil.rmtree, home, ignore_errors=True)
            source, deployment = signed_now(now)
            client = cls.open(
                Config(
                    source=source,
                    deployment=deployment,
                    state=home / "state",
                    keys=home / "keys",
                    key_provider=MemoryKeyProvider(),
                    updates_clock=lambda: now,  # its publisher is gone: it grows no older
                    public_keys=demo.PUBLIC_KEYS,
                    refresh_seconds=0,
                )
            )
            opened.push(client._closing)
            client._closing = opened.pop_all()
        return client

    @property
    def policy(self) -> PrivacyPolicy:
        """The policy in force."""
        return self._serving.policy

    @property
    def example_choices(self) -> dict[str, bool]:
        """What a visitor who agrees to everything would choose: for examples and tests, never in place of a banner."""
        return dict.fromkeys(self.policy.purposes, True)

    @property
    def bundle(self) -> Manifest | None:
        """What the bundle in force says of itself; None where none may serve."""
        bundle = self._engine.active.bundle
        return bundle.manifest if bundle else None

    @property
    def retention_days(self) -> Mapping[str, int]:
        """By purpose that a decision or a feature serves: how many days after the last addition what is kept goes."""
        return self._engine.active.retention_days

    @property
    def refused(self) -> Refusal | None:
        """Why the newest that was published does not serve, None where it does, as far as this process has asked."""
        return self._serving.refused

    @property
    def context_keys(self) -> frozenset[str]:
        """What a decision may be told of the moment, by the bundle in force."""
        active = self._engine.active
        return active.context.union(active.supplied)

    def visitor(self, identifier: str, *, minor: bool = False) -> Visitor:
        """Return the visitor of this identifier, which is pseudonymised here and dropped.

        Args:
            minor: known not to be of age: nothing is scored or stored, and what was kept before that was known goes.
        """
        try:
            handle = handle_of(identifier, self._boundary)
        except Refusal as error:
            return Visitor(self._engine, None, Outcome(False, "bad_identifier", str(error)))
        if minor:
            return Visitor(self._engine, None, self._without(handle))
        return Visitor(self._engine, handle)

    def _without(self, handle: bytes) -> Outcome:
        try:
            forget_known(self._engine, handle)
        except Exception as error:
            _LOG.error("what is kept of a minor could not be erased: %s", type(error).__name__)
        return _MINOR

    def preview(self, signal: Mapping[str, Any], *, gpc: bool = False) -> Outcome:
        """Say what a signal comes to by the policy in force, and take nothing in. Never raises.

        Args:
            signal, gpc: as for `Visitor.signal`.

        Returns:
            Accepted, with `data` of the purposes `granted`, of those `refused` with the reason of each
            (`entrenous_consent.signals.REASONS`), and of the record's `source`. Else the cause, as `Visitor.signal`.
        """
        try:
            choice = read_signal(self.policy, signal, self._engine.clock(), gpc=gpc)
        except Refusal as error:
            return Outcome(False, cause_of(error), str(error))
        except Exception as error:
            _LOG.error("a signal could not be read: %s", type(error).__name__)
            return Outcome(False, "fault", "something failed here; the log names the kind of error")
        told = {"granted": sorted(choice.granted), "refused": dict(choice.refused), "source": choice.source}
        return Outcome(True, data=told)

    def refresh(self) -> Outcome:
        """Ask the publisher now; switch to what serves from now on, the policy first. Never raises.

        Returns:
            Accepted, with `data` of `policy` and `bundle` (versions; None for no bundle) and whether they `changed`.
            Else the cause (`unauthentic`, `forbidden`, `malformed`, `missing`, `unavailable`, or `busy` while another
            process asks) and why the newest was not taken; what may serve still serves.
        """
        if self._process != os.getpid():
            return _ORPHANED
        return self._serving.refresh()

    def reject_bundle(self) -> Outcome:
        """Roll back: the bundle in force is never taken again on this host, the newest retained one that the policy
        permits serves instead, or none. No floor is lowered. Never raises.

        Returns:
            Accepted, with `data` of the `bundle` (version) that serves now. Cause `busy`: rolled back in this process
            alone, because an update is under way; call again to make it last.
        """
        if self._process != os.getpid():
            return _ORPHANED
        return self._serving.reject()

    def release(self) -> Outcome:
        """Make every report that is due by the calendar, into the outbox. Never raises.

        Returns:
            Accepted, with `data` of `reports`, the ids of those that were made. Cause `one_person`: this client holds
            one person's device (`Config.crowd`), which sends nothing. Else the cause, and nothing happened.
        """
        if self._process != os.getpid():
            return _ORPHANED
        if not self._engine.crowd:
            return _ONE_PERSON
        return self._answered(lambda: {"reports": [one.hex() for one in release(*self._measured())]})

    def send(self) -> Outcome:
        """Send what waits in the outbox to the collector. Never raises.

        Returns:
            Accepted, with `data` of `sent`, how many it took; else the cause, and what was not taken still waits.
        """
        if self._process != os.getpid():
            return _ORPHANED
        if not self._engine.crowd or self._sink is None:
            return Outcome(False, "no_collector", "client: sends nothing — set Config.crowd and Config.collector")
        sink, store = self._sink, self._engine.custody.store

        def work() -> dict[str, Any]:
            taken, refused = send(store, self._keyring, sink, self._engine.clock())
            if refused is not None:
                raise refused
            return {"sent": taken}

        return self._answered(work)

    def raise_messages(self) -> Outcome:
        """Put a message into the outbox for each trigger that is due and whose message `Config.webhooks` names. Never
        raises.

        Returns:
            Accepted, with `data` of `messages`, the ids of those that were made. Else the cause: `one_person` as for
            `release`.
        """
        if self._process != os.getpid():
            return _ORPHANED
        engine = self._engine
        if not engine.crowd:
            return _ONE_PERSON
        if engine.watch.remaining() <= 0:
            return Outcome(False, "stale", "client: has not heard the publisher for too long — see refresh")

        def work() -> dict[str, Any]:
            made = raise_messages(engine.custody, engine.active, self._endpoints, engine.clock())
            return {"messages": [one.hex() for one in made]}

        return self._answered(work)

    def send_messages(self) -> Outcome:
        """Send the messages that wait in the outbox to their recipients. Never raises.

        Returns:
            Accepted, with `data` of `sent`, how many were received; else the cause (`busy` while another process of
            this host sends), and what was not still waits.
        """
        if self._process != os.getpid():
            return _ORPHANED
        engine = self._engine
        if not engine.crowd:
            return _ONE_PERSON

        def work() -> dict[str, Any]:
            with sending_alone(self._state):
                sent, refused = send_messages(
                    engine.custody, engine.active.policy, self._endpoints, self._courier, engine.clock()
                )
            if refused is not None:
                raise refused
            return {"sent": sent}

        return self._answered(work)

    @property
    def webhook_keys(self) -> dict[str, str]:
        """The public keys that recipients verify messages with, by message: `whpk_` and base64."""
        return {one.name: webhook_key(self._keyring, one.recipient) for one in self.policy.messages if one.host}

    def outbox(self) -> list[Emitted]:
        """Return everything that ever left, or waits to: its very bytes, when it was made and when it was received.

        Raises:
            Unavailable: the store.
        """
        return self._engine.custody.store.outbox()

    @property
    def sender_key(self) -> str:
        """The public key of this host's signatures, in base64: what a collector is told."""
        return b64encode(public_key(self._keyring)).decode()

    def importing(self, mapping: AnyMapping, *, dry: bool = False) -> Import:
        """Return what takes rows of another system into this store, under the consent that stands there; that the
        store is read is noted in the audit log.

        Args:
            mapping: how rows are read; see `entrenous.importing.mapping.read_mapping`. dry: keep nothing of them.

        Raises:
            Unavailable: the store cannot be written.
        """
        engine, now = self._engine, self._engine.clock()
        entry = audit.entry("access", time=now, subject=b"", detail={"verb": "import"})
        engine.custody.store.transact([Append(audit.log_name(now), entry)], now=now, durable=True)
        return Import(engine, lambda identifier: handle_of(identifier, self._boundary), mapping, dry=dry)

    def stale_in(self) -> int:
        """Return for how many seconds decisions go on if the publisher is not heard; 0 or less: they do not."""
        return self._serving.remaining()

    def published(self, name: str) -> bytes | None:
        """Return a file of the signed repository that serves here, by its name there; None for none.

        Raises:
            Unavailable: it can't be read.
        """
        return published(self._serving.state, name)

    def flush(self) -> Outcome:
        """Bring waiting receipts and cap counts to the store now, and switch to what another process has taken from
        the publisher; what fails is logged, without names.

        Returns:
            Cause `unavailable`: the store can't take them now, and they wait on. `fault`: some never will be taken, and
            are dropped.
        """
        flushed = self._flush_once()
        try:
            self._serving.look()
        except Exception as error:
            _LOG.error("an update could not be taken on: %s", type(error).__name__)
        return flushed

    def sweep(self) -> int:
        """Delete what has expired and finish erasures that are pending, and once a day wrap every data key anew, so
        that copies of what was erased open no more; return how many rows went.

        Raises:
            Unavailable: the store cannot be written.
        """
        store, now, days = self._engine.custody.store, self._engine.clock(), self.policy.audit_days
        tidy_messages(store, now, days=days)
        return sweep(self._engine.custody, now, audit_days=days)

    def rotate(self) -> int:
        """Wrap every data key anew now; see `entrenous_consent.upkeep.rotate`. Return how many live on.

        Raises:
            Unavailable: the store or the keyring cannot be written.
        """
        return rotate(self._engine.custody, self._engine.clock())

    def close(self) -> None:
        """Flush, and let go of files. Whatever is asked afterwards gets its default.

        Does nothing in a forked child: the files and what waits are its parent's.
        """
        if self._process != os.getpid() or not self._closed.acquire(blocking=False):
            return
        atexit.unregister(self.close)
        if self._flusher is not None:
            self._flusher.stop()
        for waiter in (self._updater, self._releaser, self._messenger, self._sweeper):
            if waiter is not None:
                waiter.stop(_LAST_WAIT)
        self._flush_once()
        self._serving.close()
        self._closing.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tick(self) -> bool:
        self.flush()
        return True

    def _poll(self) -> bool:
        outcome = self.refresh()
        return outcome.accepted or outcome.cause == "busy"

    def _measured(self) -> tuple[Custody, Active, int]:
        return self._engine.custody, self._engine.active, self._engine.clock()

    def _report(self) -> bool:
        made, sent = self.release(), self.send() if self._sink is not None else Outcome(True)
        return made.accepted and sent.accepted

    def _message(self) -> bool:
        made, sent = self.raise_messages(), self.send_messages()
        return made.accepted and (sent.accepted or sent.cause == "busy")

    @staticmethod
    def _answered(work: Callable[[], dict[str, Any]]) -> Outcome:
        try:
            return Outcome(True, data=work())
        except Refusal as error:
            _LOG.warning("what is to leave was held up: %s: %s", error.place, error.what)
            return Outcome(False, cause_of(error), str(error))
        except Exception as error:
            _LOG.error("what is to leave failed: %s", type(error).__name__)
            return Outcome(False, "fault", "something failed here; the log names the kind of error")

    def _sweep_daily(self) -> bool:
        custody, now, days = self._engine.custody, self._engine.clock(), self.policy.audit_days
        try:
            if sweep_daily(custody, now, audit_days=days):
                tidy_messages(custody.store, now, days=days)
        except Exception as error:
            _LOG.error("the store could not be swept: %s", type(error).__name__)
            return False
        return True

    def _flush_once(self) -> Outcome:
        try:
            return _FLUSHED if self._engine.flush() else _WAITING
        except Exception as error:
            _LOG.error("receipts could not be written: %s", type(error).__name__)
            return Outcome(False, "fault", "receipts: could not be written — the log names the kind of error")


_MINOR = Outcome(False, "minor", "visitor: is a minor — nothing is scored or stored")
_ONE_PERSON = Outcome(False, "one_person", "client: holds no crowd — set Config.crowd on a store of many people")
_FLUSHED = Outcome(True)
_WAITING = Outcome(False, "unavailable", "store: can't be written now — what waits is brought at the next flush")
_ORPHANED = Outcome(False, "unavailable", "client: was opened before this process was forked — open one in each")


def _after_fork(engine: weakref.ref[Engine]) -> None:
    parents = engine()
    if parents is not None:
        parents.orphan()


def _directory(path: Path) -> Path:
    """Return the resolved `path` of a directory, made readable by its owner only if it was not there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.resolve(strict=True)
    except OSError as error:
        remedy = "check the path in your configuration, and its owner"
        raise Unavailable(f"cannot be made ({type(error).__name__})", place=str(path), remedy=remedy) from error
