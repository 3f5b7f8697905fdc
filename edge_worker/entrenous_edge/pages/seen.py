"""What the page is about to say, asked of the client once: whose browser it is, what they chose, what is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from entrenous import Outcome
from entrenous.features import Feature
from entrenous.segments import Segment
from entrenous_consent.policy import PrivacyPolicy
from entrenous_edge.answers import problem_of
from entrenous_edge.calls import said_of
from entrenous_edge.identity import REFUSED_COOKIE

if TYPE_CHECKING:
    from entrenous_edge.app import Worker

__all__ = ["Seen", "look"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one page says.

    Attributes:
        policy: in force. features, segments: of the bundle in force, none where there is none.
        known: whether the browser brought a cookie of ours. refused: whether it brought the one of a refusal.
        gpc: whether it objects by Global Privacy Control. objects: whether that holds: no choice outweighs it.
        granted: what counts as allowed at this moment. stored: what is stored as allowed, though GPC keep it from use.
        ask: purposes that are new or were widened since the choice that stands.
        chosen: when a choice was made and until when it is remembered, in Unix seconds; None where none stands.
        source: how it arrived. held: as `Visitor.export` tells. within: names of segments.
        tastes: as `Visitor.preferences` tells. retention_days: as `Client.retention_days` tells.
    """

    policy: PrivacyPolicy
    features: Sequence[Feature] = ()
    segments: Sequence[Segment] = ()
    known: bool = False
    refused: bool = False
    gpc: bool = False
    objects: bool = False
    granted: frozenset[str] = frozenset()
    stored: frozenset[str] = frozenset()
    ask: frozenset[str] = frozenset()
    chosen: tuple[int, int] | None = None
    source: str = ""
    held: Mapping[str, Any] = field(default_factory=dict)
    within: Sequence[str] = ()
    tastes: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    retention_days: Mapping[str, int] = field(default_factory=dict)


def look(worker: Worker, request: Request, identifier: str) -> Seen:
    """Return what there is to say to whoever asks; of nobody, an empty identifier, nothing is asked.

    Raises:
        Problem: the store can't be read.
    """
    client, gpc = worker.client, said_of(request).gpc
    bundle = client.bundle
    about: dict[str, Any] = {
        "policy": client.policy,
        "features": bundle.features if bundle else (),
        "segments": bundle.segments if bundle else (),
        "gpc": gpc,
        "retention_days": client.retention_days,
    }
    if not identifier:
        return Seen(**about, objects=gpc, refused=bool(request.cookies.get(REFUSED_COOKIE)))
    visitor, objects = client.visitor(identifier), worker.objects(request, identifier)
    chosen = _told(visitor.choices())
    stored = frozenset(chosen["granted"])
    about |= {
        "known": True,
        "objects": objects,
        "stored": stored,
        "granted": frozenset() if objects else stored,
        "ask": frozenset(chosen["ask"]) if "time" in chosen else frozenset(),
        "chosen": (chosen["time"], chosen["expires"]) if "time" in chosen else None,
        "source": chosen.get("source", ""),
        "held": _told(visitor.export()),
    }
    if objects:
        return Seen(**about)
    within, tastes = _told(visitor.segments())["segments"], _told(visitor.preferences())["preferences"]
    return Seen(**about, within=within, tastes=tastes)


def _told(outcome: Outcome) -> Mapping[str, Any]:
    if not outcome.accepted:
        raise problem_of(outcome)
    return outcome.data
