"""What changes in how a choice arrives: which strings, platforms and browsers are heard, and what they must say. Pure.

A purpose that opens on less than before, or at the word of somebody new, counts as granted where nobody granted it to
this policy: that widens it as much as more data does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from entrenous_consent.dpo.change import NARROWS, WIDENS, Change, listed, said, sets, turn
from entrenous_consent.policy import PrivacyPolicy, Purpose
from entrenous_consent.signal_settings import STORAGE

__all__ = ["signal_changes", "string_changes"]


def string_changes(place: str, old: Purpose, new: Purpose) -> Iterator[Change]:
    """Yield what changes in the TCF purposes that a string must grant; where none is left, no string opens it."""
    less = WIDENS if new.tcf_purposes else NARROWS
    for change in sets(place, old.tcf_purposes, new.tcf_purposes, (new.key,), ("more_tcf", "less_tcf")):
        yield change if change.effect == WIDENS else replace(change, effect=less)


def signal_changes(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    """Yield what changes under `[signals]`."""
    was, now = old.signals, new.signals
    stringed = tuple(sorted(key for key, one in new.purposes.items() if one.tcf_purposes))
    if was.tcf_vendor_id != now.tcf_vendor_id:
        effect, reason = (WIDENS, "other_vendor") if now.tcf_vendor_id else (NARROWS, "no_vendor")
        yield turn("signals.tcf_vendor_id", effect, reason, (was.tcf_vendor_id, now.tcf_vendor_id), stringed)
    if was.tcf_publisher_purposes != now.tcf_publisher_purposes:
        effect, reason = (WIDENS, "publisher_heard") if now.tcf_publisher_purposes else (NARROWS, "publisher_unheard")
        values = (was.tcf_publisher_purposes, now.tcf_publisher_purposes)
        yield turn("signals.tcf_publisher_purposes", effect, reason, values, stringed)
    mapped = tuple(sorted(now.consent_mode))
    yield from sets("signals.cmps", was.cmps, now.cmps, mapped, ("more_cmps", "fewer_cmps"))
    for key in sorted({*was.consent_mode, *now.consent_mode}):
        yield from _mode(key, old, new)
    yields = (was.gpc_yields_to_later_choice, now.gpc_yields_to_later_choice)
    if yields[0] != yields[1]:
        effect, reason = (WIDENS, "gpc_yields") if yields[1] else (NARROWS, "gpc_stands")
        yield turn("signals.gpc_yields_to_later_choice", effect, reason, yields, tuple(sorted(new.purposes)))


def _mode(key: str, old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    """Yield what changes in the types of consent mode that open a purpose."""
    place, us = f"signals.consent_mode.{key}", (key,)
    was, now = _opening(old, key), _opening(new, key)
    before, after = (listed(policy.signals.consent_mode.get(key, ())) for policy in (old, new))
    if was and not now:
        yield turn(place, NARROWS, "mode_shut", (before, after), us)
    elif now and not was:
        yield turn(place, WIDENS, "mode_opens", (before, after), us)
    elif was != now:
        effect, reason = (NARROWS, "mode_more") if was < now else (WIDENS, "mode_less")
        yield turn(place, effect, reason, (before, after), us)
    else:
        yield from said(place, before, after, us)


def _opening(policy: PrivacyPolicy, key: str) -> frozenset[str]:
    """Return the types that must all be granted for a purpose; none where no map opens it, as `read_signal` has it."""
    types = frozenset(policy.signals.consent_mode.get(key, ()))
    shut = key in policy.purposes and policy.purposes[key].terminal == "consent" and not types & {*STORAGE}
    return frozenset() if shut else types
