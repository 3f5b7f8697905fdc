"""Serving: keeps an engine on the pair that the updater's record names, and stops it when that has gone stale.

The record on disk is the one truth for all processes of a host. Whoever visits the publisher changes it; every process
compiles what it says and switches `Engine.active` once, as one value. Then the withdrawal counter is raised: a decision
that sees it moved takes a `glance` at the record before it reads a visitor. A glance never compiles a model: it takes
on a newer policy at once, with the bundle at hand where that policy still permits it, else with none, until the
process's own thread has compiled what shall serve. So a policy holds from the next decision in every process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from entrenous.active import Active, activate
from entrenous.decision import Outcome
from entrenous.engine import Engine
from entrenous.supply import Supply
from entrenous.updates.retained import Busy, Found, State
from entrenous.updates.verify import check_bundle
from entrenous_consent.custody import Custody
from entrenous_consent.errors import Forbidden, Malformed, Missing, Refusal, Unauthentic
from entrenous_consent.keys import Keyring
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.upkeep import note

__all__ = ["Serving", "cause_of"]

_LOG = logging.getLogger("entrenous")
_LONGEST_WORDS = 300

_CAUSES: tuple[tuple[type[Refusal], str], ...] = (
    (Busy, "busy"),
    (Unauthentic, "unauthentic"),
    (Forbidden, "forbidden"),
    (Malformed, "malformed"),
    (Missing, "missing"),
    (Refusal, "unavailable"),
)

Pair = tuple[bytes, bytes | None]
"""The digests of a policy and a bundle."""


class Serving:
    """Watches over one engine. Make it with `start`, which makes the engine too.

    Attributes:
        engine: the one that serves. refused: why the newest that was published does not serve, None where it does.
    """

    def __init__(self, supply: Supply, engine: Engine, keyring: Keyring) -> None:
        self.engine, self.refused, self._unfit = engine, None, None
        self.engine.watch = self
        self.engine.watched_by(self.doubt)
        self._supply, self._keyring = supply, keyring
        self._raw: bytes | None = None
        self._glanced: bytes | None = None
        self._pair: Pair | None = None
        self._heard = 0
        self._visiting, self._compiling, self._switching = threading.Lock(), threading.Lock(), threading.Lock()
        self._closed = False

    engine: Engine
    refused: Refusal | None
    _unfit: Refusal | None

    @classmethod
    def start(
        cls,
        supply: Supply,
        first: tuple[Found, Refusal | None],
        keyring: Keyring,
        custody: Custody,
        clock: Callable[[], int],
    ) -> Serving:
        """Return what serves `first`, as `Supply.first` found it.

        Args:
            clock: of events and decisions, Unix seconds.

        Raises:
            Unavailable: a key can't be stored, or the counters can't be raised.
        """
        policy = first[0].policy
        custody.prepare(policy, clock())
        serving = cls(supply, Engine(custody, activate(policy, None, keyring), clock), keyring)
        serving.look()
        serving._tell(first[1] or serving._unfit)
        return serving

    @property
    def policy(self) -> PrivacyPolicy:
        """The policy in force."""
        return self.engine.active.policy

    @property
    def state(self) -> State:
        """What the updater keeps on disk."""
        return self._supply.state

    # On the visitor's path

    def remaining(self) -> int:
        """Return for how many seconds the pair may still serve unless the publisher is heard; 0 or less: stale."""
        left = self._remaining()
        if left <= 0:
            self.glance()  # another process may have heard
            left = self._remaining()
        return left

    def _remaining(self) -> int:
        longest, own = self.policy.max_stale, self._supply.deployment.max_stale
        if own is not None:
            longest = min(longest, own)
        return longest + 1 - max(self._supply.clock() - self._heard, 0)

    def glance(self) -> None:
        """Take on what the record says of policy and time, without compiling anything. Never raises."""
        try:
            with self._switching:
                raw = self._supply.state.raw()
                if raw not in (self._raw, self._glanced) and not self._closed:
                    self._take_policy(raw)
        except Exception as error:
            _LOG.error("the updater's record could not be read: %s", type(error).__name__)

    def _take_policy(self, raw: bytes | None) -> None:
        record, before, bundle = self._supply.record(raw), self.engine.active, self.engine.active.bundle
        if bundle is not None and self._supply.broken(bundle.digest, record):
            bundle = None
        policy = before.policy
        if record.policy != policy.digest:
            policy = self._supply.policy(record)
            if bundle is not None:
                try:
                    check_bundle(bundle, policy, self._supply.clock(), record.rejected)
                except Forbidden:
                    bundle = None
        if policy is not before.policy or bundle is not before.bundle:
            self.engine.custody.prepare(policy, self.engine.clock())
            scorers = before.scorers if bundle is not None else {}
            self.engine.active = activate(policy, bundle, self._keyring, scorers=scorers)
        self._heard, self._glanced = record.clock, raw

    # Off the visitor's path

    def refresh(self) -> Outcome:
        """Visit the publisher once and switch to what serves from now on; see `Client.refresh`. Never raises."""
        return self._answer(self._refresh)

    def _refresh(self) -> Outcome:
        with self._visiting:
            self._unfit = None
            try:
                refused = self._supply.visit().refused
            except Busy:
                self.look()
                raise
            except Refusal as error:
                refused = error
            changed = self.look()
            refused = refused or self._unfit
            self._tell(refused)
        if refused is not None:
            return _refusal(refused)
        bundle = self.engine.active.bundle
        versions = {"policy": self.policy.version, "bundle": bundle.manifest.version if bundle else None}
        return Outcome(True, data=versions | {"changed": changed})

    def reject(self) -> Outcome:
        """Roll back to the newest retained bundle that is permitted; see `Client.reject_bundle`. Never raises."""
        return self._answer(self._reject)

    def _reject(self) -> Outcome:
        bundle = self.engine.active.bundle
        if bundle is None:
            return Outcome(False, "no_bundle", "no bundle is in force")
        try:
            self._supply.reject(bundle.digest)
        finally:
            self.look(anew=True)
        bundle = self.engine.active.bundle
        return Outcome(True, data={"bundle": bundle.manifest.version if bundle else None})

    def doubt(self, active: Active, what: str) -> None:
        """Roll a pair's bundle back because of what was seen of it, if it is still in force."""
        bundle = active.bundle
        if bundle is None or self.engine.active is not active:
            return
        manifest = bundle.manifest
        remedy = "publish a newer version; this one is not taken again"
        self._tell(Malformed(f"version {manifest.version} {what}", place=f"bundles/{manifest.name}", remedy=remedy))
        outcome = self.reject()
        if not outcome.accepted:
            _LOG.error("a bundle could not be rolled back: %s", outcome.cause)

    def _answer(self, work: Callable[[], Outcome]) -> Outcome:
        try:
            return work()
        except Refusal as error:
            return _refusal(error)
        except Exception as error:
            _LOG.error("an update failed: %s", type(error).__name__)
            return Outcome(False, "fault", "something failed here; the log names the kind of error")

    def look(self, *, anew: bool = False) -> bool:
        """Switch to what the record says, if it says something new; say whether the pair changed.

        Args:
            anew: judge again though the record is the same.

        Raises:
            Refusal: what the record names can't be read; what served before still serves.
        """
        with self._compiling:
            try:
                return self._look(anew)
            except Exception:
                self.glance()  # the policy comes first, even where nothing else can
                raise

    def _look(self, anew: bool) -> bool:
        unfit = None
        while not self._closed:
            raw, active = self._supply.state.raw(), self.engine.active
            ended = active.bundle is not None and active.expires <= self._supply.clock()
            if raw == self._raw and not (anew or ended):
                return False
            known = {active.bundle.digest: active.scorers} if active.bundle else {}
            found, scorers, broken = self._supply.open_models(self._supply.found(raw), known)
            unfit = broken or unfit
            if _pair_of(found) != _pair(active):
                self.engine.custody.prepare(found.policy, self.engine.clock())
                active = activate(found.policy, found.bundle, self._keyring, scorers=scorers)
            before = self._pair
            if self._switch(raw, found, active):
                if self._pair != before:
                    self._note("activation", _activation(found))
                if unfit is not None:
                    self._unfit = unfit
                    self._tell(unfit)
                return self._pair != before
        return False

    def _switch(self, raw: bytes | None, found: Found, active: Active) -> bool:
        """Put a pair in force, unless the record has moved on; then say so, with nothing changed."""
        with self._switching:
            if self._closed or self._supply.state.raw() != raw:
                return False
            if _pair(self.engine.active) != _pair(active):
                self.engine.active = active
            changed, self._pair = self._pair != _pair(active), _pair(active)
            self._raw = self._glanced = raw
            self._heard = found.refreshed
            if changed:
                self.engine.custody.counters.raise_withdrawals()
        return True

    def _tell(self, refused: Refusal | None) -> None:
        """Keep a refusal for who asks, and note one in the audit log if it is news."""
        self.refused = refused
        if refused is not None:
            what, place = refused.what[:_LONGEST_WORDS], refused.place[:_LONGEST_WORDS]
            self._note("refusal", {"error": type(refused).__name__, "what": what, "place": place})

    def _note(self, kind: str, detail: Mapping[str, object]) -> None:
        try:
            if note(self.engine.custody, kind, detail, self.engine.clock()) and kind == "refusal":
                _LOG.warning("an update was refused: %s: %s", detail["place"], detail["what"])
        except Exception as error:
            _LOG.error("the audit log could not be written: %s", type(error).__name__)

    def close(self) -> None:
        """Switch nothing from here on: files are about to be closed."""
        with self._switching:
            self._closed = True


def _pair(active: Active) -> Pair:
    return active.policy.digest, active.bundle.digest if active.bundle else None


def _pair_of(found: Found) -> Pair:
    return found.policy.digest, found.bundle.digest if found.bundle else None


def _activation(found: Found) -> dict[str, object]:
    detail: dict[str, object] = {"policy": found.policy.version, "policy_digest": found.policy.digest.hex()}
    if found.bundle is not None:
        manifest = found.bundle.manifest
        detail |= {"bundle": manifest.name, "bundle_version": manifest.version}
        detail["bundle_digest"] = found.bundle.digest.hex()
    return detail


def cause_of(error: Refusal) -> str:
    """Return a refusal's cause in one word."""
    return next(cause for kind, cause in _CAUSES if isinstance(error, kind))


def _refusal(error: Refusal) -> Outcome:
    return Outcome(False, cause_of(error), str(error))
