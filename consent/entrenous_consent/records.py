"""The consent record: a visitor's choice as it is stored, and the gate that reads it.

A purpose is granted only if the record names it, at exactly the consent version that the policy in force states, before
that grant's own expiry. Anything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["SALT_BYTES", "ConsentRecord", "choose"]

SALT_BYTES = 16
_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRecord:
    """One visitor's choice.

    Attributes:
        grants: purpose to (consent version, expiry in Unix seconds); what is not named is not granted.
        refused: purposes that the visitor was asked for and did not grant, sorted: not asked for again before the end.
        source: how the choice arrived: one of `signal_settings.SOURCES`, or the name of a consent platform.
        time, expires: when it was made, and when even the memory of it ends.
        salt: what the visitor's audit commitment is made with; it dies with the record.
    """

    grants: Mapping[str, tuple[int, int]]
    source: str
    time: int
    expires: int
    salt: bytes
    refused: tuple[str, ...] = ()

    def granted(self, policy: PrivacyPolicy, now: int) -> frozenset[str]:
        """Return the purposes granted at `now` under `policy`: the consent gate."""
        if now >= self.expires:
            return frozenset()
        return frozenset(
            purpose
            for purpose, (version, expiry) in self.grants.items()
            if purpose in policy.purposes and version == policy.purposes[purpose].consent_version and now < expiry
        )

    def under(self, policy: PrivacyPolicy) -> ConsentRecord:
        """Return this choice as it stands under `policy`: it holds no longer than a choice of its age does there,
        however long it was given for."""
        lifetimes = {key: purpose.lifetime for key, purpose in policy.purposes.items()}
        longest, made = max(lifetimes.values()), self.time
        held = all(key in lifetimes and ends <= made + lifetimes[key] for key, (_, ends) in self.grants.items())
        if held and self.expires <= made + longest:
            return self
        grants = {
            purpose: (version, min(expiry, made + lifetimes.get(purpose, 0)))
            for purpose, (version, expiry) in self.grants.items()
        }
        return replace(self, grants=grants, expires=min(self.expires, made + longest))

    def unanswered(self, policy: PrivacyPolicy, now: int) -> frozenset[str]:
        """Return the purposes to ask for at `now`: new ones, widened ones, and those whose grant has ended. A refusal
        stands until the memory of it ends, whatever became of the purpose."""
        if now >= self.expires:
            return frozenset(policy.purposes)
        return frozenset(policy.purposes) - self.granted(policy, now) - frozenset(self.refused)

    def outdated(self, policy: PrivacyPolicy) -> frozenset[str]:
        """Return the purposes of `policy` that were granted at another consent version than it states."""
        known = {key: purpose.consent_version for key, purpose in policy.purposes.items()}
        return frozenset(key for key, (version, _) in self.grants.items() if known.get(key, version) != version)

    def until(self, now: int) -> int:
        """Return the next second at which a grant of this record ends."""
        return min((expiry for _, expiry in self.grants.values() if expiry > now), default=self.expires)

    def instead_of(self, before: ConsentRecord | None, purposes: frozenset[str]) -> ConsentRecord:
        """Return what is left of the choice `before` once `purposes` are refused, which this refusal of everything does
        now: what stays granted ends when it would have, and what was never asked for may still be."""
        grants = before.grants if before else {}
        return replace(
            self,
            grants={purpose: grant for purpose, grant in grants.items() if purpose not in purposes},
            refused=tuple(sorted({*(before.refused if before else ()), *purposes})),
        )

    def after(self, before: ConsentRecord | None) -> ConsentRecord:
        """Return this choice, made no earlier than the one it takes the place of: where that was dated ahead, the same
        signal is not newer than this one when it comes again."""
        return self if before is None or before.time <= self.time else replace(self, time=before.time)

    def pack(self) -> bytes:
        """Return the record as msgpack, positional: a decision reads it."""
        grants = [[purpose, *self.grants[purpose]] for purpose in sorted(self.grants)]
        return pack([grants, self.source, self.time, self.expires, self.salt, list(self.refused)])

    @classmethod
    def unpack(cls, data: bytes) -> ConsentRecord:
        """Return the record that `pack` wrote.

        Raises:
            Malformed: the bytes are not a consent record.
        """
        value = unpack(data, place="consent record", longest=_LIMIT)
        try:
            entries, source, time, expires, salt, refused = value
            grants = {purpose: (version, expiry) for purpose, version, expiry in entries}
        except (TypeError, ValueError) as error:
            raise _unreadable() from error
        sound = len(grants) == len(entries) and all(
            type(purpose) is str and type(version) is int and type(expiry) is int
            for purpose, (version, expiry) in grants.items()
        )
        if not sound or type(source) is not str or type(salt) is not bytes or len(salt) != SALT_BYTES:
            raise _unreadable()
        if type(refused) is not list or any(type(purpose) is not str or purpose in grants for purpose in refused):
            raise _unreadable()
        if type(time) is not int or type(expires) is not int or time < 0 or expires < 0:
            raise _unreadable()
        return cls(grants=grants, source=source, time=time, expires=expires, salt=salt, refused=tuple(refused))


def _unreadable() -> Malformed:
    return Malformed("is not a choice that was stored", place="consent record", remedy="erase this visitor")


def choose(policy: PrivacyPolicy, granted: frozenset[str], *, source: str, now: int, salt: bytes) -> ConsentRecord:
    """Return the record of a choice made `now`: `granted` is the whole choice, every other purpose is refused.

    The choice itself is remembered as long as the longest-lived purpose, so that a refusal is not asked again sooner.

    Raises:
        Forbidden: a purpose that `policy` does not have.
    """
    purposes = policy.purposes
    if not granted <= purposes.keys():
        raise Forbidden("grants a purpose that the policy does not have", place="choice", remedy="ask again")
    return ConsentRecord(
        grants={purpose: (purposes[purpose].consent_version, now + purposes[purpose].lifetime) for purpose in granted},
        source=source,
        time=now,
        expires=now + max(purpose.lifetime for purpose in purposes.values()),
        salt=salt,
        refused=tuple(sorted(purposes.keys() - granted)),
    )
