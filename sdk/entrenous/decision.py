"""What a caller gets: a `Decision` with its `Receipt`, or an `Outcome`. Nothing here raises, nothing holds an
identifier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from entrenous.decisions.why import Why

__all__ = ["CAUSES", "REASONS", "Basis", "Decision", "Outcome", "Receipt"]

REASONS = ("TARGETING_MATCH", "SPLIT", "STATIC", "DEFAULT", "DISABLED", "STALE", "ERROR")
"""OpenFeature's standard reasons."""

CAUSES = (
    "",
    "consent_missing",
    "holdout",
    "not_yet",
    "elsewhere",
    "kept",
    "contextual",
    "forced",
    "capped",
    "ineligible",
    "no_bundle",
    "stale",
    "unknown_decision",
    "bad_identifier",
    "bad_context",
    "unavailable",
    "unreadable",
    "fault",
)
"""The finer cause beside a reason."""


class Basis(NamedTuple):
    """What stands behind a decision: everything that is the same for every visitor of one consent pattern and outcome.

    Attributes:
        share: how many of 10,000 visitors of this tranche get this arm, of those who take part.
        consents: purpose used and the consent version it was granted at.
        withheld: features that were not looked at, because their purpose is not granted.
    """

    decision: str
    arm: str
    reason: str
    cause: str
    tranche: str
    share: int
    bundle: str
    policy: int
    consents: tuple[tuple[str, int], ...]
    withheld: tuple[str, ...]


class Receipt(NamedTuple):
    """One decision, for whoever asks later: kept in the visitor's own profile and nowhere else."""

    id: int
    time: int
    basis: Basis

    def as_table(self) -> dict[str, Any]:
        """Return the receipt as plain values."""
        basis = self.basis._asdict()
        return {"id": f"{self.id:016x}", "time": self.time} | basis | {"consents": dict(self.basis.consents)}


class Decision(NamedTuple):
    """The answer to `decide`.

    Attributes:
        value: the arm's value, or the caller's default. reason: one of `REASONS`. cause: one of `CAUSES`.
        tranche: the band of the score, empty where nothing was scored.
        receipt: None where nothing was read, so that there is nothing to account for.
        payload_json: JSON text of what the page shows, empty for nothing.
        margin: calibrated log-odds of the goal, None where nothing of the kind was scored. It stays here: no receipt or
            report holds it.
        scored: what it was taken from, for `why`; no more leaves this process.
    """

    value: Any
    reason: str
    cause: str = ""
    tranche: str = ""
    receipt: Receipt | None = None
    payload_json: str = ""
    margin: float | None = None
    scored: Any = None

    def why(self, language: str = "en") -> Why:
        """Return why this was decided, in plain words (`entrenous.decisions.why.explain`).

        Args:
            language: `en` or `fr`.

        Raises:
            Malformed: another language.
        """
        from entrenous.decisions.why import explain  # noqa: PLC0415 — it is about decisions, so it imports this module

        return explain(self, language)

    @property
    def payload(self) -> dict[str, Any] | None:
        """What the page shows, freshly parsed: changing it changes nothing here."""
        return json.loads(self.payload_json) if self.payload_json else None

    @property
    def likelihood(self) -> int | None:
        """How likely the goal is, from 0 to 100; None where no likelihood was scored."""
        return None if self.margin is None else round(100 / (1 + exp(-min(max(self.margin, -50.0), 50.0))))

    @property
    def arm(self) -> str:
        """The arm's name, empty where the default was given for want of consent, model or health."""
        return self.receipt.basis.arm if self.receipt else ""

    def __repr__(self) -> str:
        shown = [f"value={self.value!r}", f"reason={self.reason}"]
        shown += [f"{key}={value}" for key, value in (("cause", self.cause), ("tranche", self.tranche)) if value]
        if self.receipt:
            shown.append(f"receipt={self.receipt.id:016x}")
        return f"Decision({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to everything else a visitor does.

    Attributes:
        accepted: it was done. cause: why not, or `pending` for an erasure that a reader of the store still delays.
        message: what was wrong and what to do next, without an identifier or a value.
        data: what was asked for, from `export`.
    """

    accepted: bool
    cause: str = ""
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
