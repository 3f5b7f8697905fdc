"""What a policy says of signals: whose TCF choices are read, which consent platforms are believed, what GPC means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from entrenous_consent.audit.entries import sound_source
from entrenous_consent.parsing import Table

__all__ = [
    "APP",
    "CONSENT_MODE",
    "GPC",
    "GPP",
    "OBJECTION",
    "OVER_GPC",
    "SOURCES",
    "STORAGE",
    "TCF",
    "Signals",
    "parse_signals",
]

STORAGE = (
    "ad_storage",
    "analytics_storage",
    "functionality_storage",
    "personalization_storage",
    "security_storage",
)
"""The types of Google's consent mode v2 that are about the terminal."""

CONSENT_MODE = (*STORAGE, "ad_user_data", "ad_personalization")
"""Every type of Google's consent mode v2 (Google Analytics Help 12334711)."""

SOURCES = APP, OVER_GPC, TCF, GPP, GPC, OBJECTION = ("app", "app over gpc", "tcf", "gpp", "gpc", "objection")
"""What a consent record says of where a choice came from, where it was no consent platform by name: the app, the app
while GPC objected under a policy that lets a choice outweigh that, a string of either kind, GPC, the person objecting.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """How choices may arrive, beside the app's own call.

    Attributes:
        tcf_vendor_id: on the IAB Europe Global Vendor List, whose choices are read from a TCF string; 0 for none.
        tcf_publisher_purposes: whether the publisher segment of a TCF string is read.
        cmps: consent platforms whose consent mode maps are believed.
        consent_mode: by purpose of ours, the types of consent mode that must all be granted; no entry, no grant.
        gpc_yields_to_later_choice: whether a choice made after an objection by GPC outweighs it.
    """

    tcf_vendor_id: int
    tcf_publisher_purposes: bool
    cmps: tuple[str, ...]
    consent_mode: Mapping[str, tuple[str, ...]]
    gpc_yields_to_later_choice: bool


def parse_signals(table: Table, purposes: Collection[str]) -> Signals:
    """Return the settings that `[signals]` writes down, for these purposes of the policy.

    Raises:
        Malformed: an unknown key, a value of another type or out of bounds, or a map of consent mode that names what
            is no purpose, no type, or no consent platform to believe.
    """
    modes = table.table("consent_mode", {})
    consent_mode = {purpose: modes.texts(purpose) for purpose in modes.keys()}  # noqa: SIM118 — a method of ours
    for purpose, types in consent_mode.items():
        if purpose not in purposes:
            raise modes.refuse(purpose, "is not a declared purpose", "declare it under [purposes]")
        if not types or not set(types) <= set(CONSENT_MODE):
            raise modes.refuse(purpose, "is no list of consent types", "use some of: " + ", ".join(CONSENT_MODE))
    signals = Signals(
        tcf_vendor_id=table.integer("tcf_vendor_id", 0, least=1, most=65_535),
        tcf_publisher_purposes=table.flag("tcf_publisher_purposes", False),
        cmps=table.texts("cmps", ()),
        consent_mode=consent_mode,
        gpc_yields_to_later_choice=table.flag("gpc_yields_to_later_choice", False),
    )
    table.close()
    if {*SOURCES} & {*signals.cmps}:
        raise table.refuse("cmps", "names a consent platform by a word of ours", "use its own name")
    if not all(map(sound_source, signals.cmps)):
        raise table.refuse(
            "cmps", "holds what might be somebody's address or a token", "write the platform's plain name"
        )
    if consent_mode and not signals.cmps:
        raise table.refuse("cmps", "names no consent platform to believe", "name the one that sends consent mode")
    return signals
