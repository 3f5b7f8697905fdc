"""What changes between two policies: what widens, what narrows, what is only said otherwise. Pure.

A change widens a purpose if, for someone who granted it before, more is done than they were told: more data, kept
longer, for another use, on a weaker ground, to someone new, with less noise or in a smaller crowd. Whatever cannot be
told apart from that counts as widening. `[[roles]]` are those who act for the controller: a new one is told, and
nobody is asked again; `[[recipients]]` are everybody else: a new one widens the purposes of the messages that name it,
or every purpose where none does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from entrenous_consent.dpo.rules import EEA
from entrenous_consent.dpo.taxonomy import within
from entrenous_consent.errors import Forbidden
from entrenous_consent.policy import EFFECTS, FeatureRule, PrivacyPolicy, Purpose, Report

__all__ = ["NARROWS", "SAYS", "WIDENS", "Change", "asked_again", "compare", "unraised"]

WIDENS, NARROWS, SAYS = "widens", "narrows", "says"
"""What a change does: more than before, less than before, or neither as far as a program can tell."""

_DAY = 86_400
_TERMINALS = ("none", "consent", "exempt")
_BASIS_FIRST = "consent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change.

    Attributes:
        place: a path; a feature, report, message or decision is named in it. effect: `WIDENS`, `NARROWS` or `SAYS`.
        reason: a key of the catalog `diff`. old, new: as written; empty where there is none.
        purposes: whose consent it touches.
    """

    place: str
    effect: str
    reason: str
    old: str
    new: str
    purposes: tuple[str, ...]


def compare(old: PrivacyPolicy, new: PrivacyPolicy) -> tuple[Change, ...]:
    """Return what changes from `old` to `new`, what widens first, each sort by path.

    Raises:
        Forbidden: they are policies of two tenants.
    """
    if old.tenant != new.tenant:
        remedy = f"compare it with a policy of {old.tenant}"
        raise Forbidden("is the policy of another tenant", place="tenant", remedy=remedy)
    found = [*_purposes(old, new), *_features(old, new), *_reports(old, new), *_outward(old, new), *_top(old, new)]
    order = (WIDENS, NARROWS, SAYS)
    return tuple(sorted(found, key=lambda one: (order.index(one.effect), one.place, one.reason)))


def unraised(changes: Iterable[Change], old: PrivacyPolicy, new: PrivacyPolicy) -> tuple[str, ...]:
    """Return the purposes that `changes` widen and whose consent version is not raised, sorted."""
    widened = {key for one in changes if one.effect == WIDENS for key in one.purposes}
    both = widened & old.purposes.keys() & new.purposes.keys()
    return tuple(sorted(key for key in both if _version(new, key) <= _version(old, key)))


def asked_again(old: PrivacyPolicy, new: PrivacyPolicy) -> tuple[str, ...]:
    """Return the purposes that a visitor is asked about anew: those raised, and those that are new; sorted."""
    return tuple(
        sorted(key for key in new.purposes if key not in old.purposes or _version(new, key) > _version(old, key))
    )


def _version(policy: PrivacyPolicy, key: str) -> int:
    return policy.purposes[key].consent_version


def _step(
    place: str, old: float, new: float, purposes: tuple[str, ...], reasons: tuple[str, str], *, up: str = WIDENS
) -> Iterator[Change]:
    """Yield the change of a number; `reasons` for one that grew and for one that fell, `up` what growing does."""
    if old != new:
        grew = new > old
        effect = up if grew else (NARROWS if up == WIDENS else WIDENS)
        reason = reasons[0] if grew else reasons[1]
        yield Change(place=place, effect=effect, reason=reason, old=f"{old:g}", new=f"{new:g}", purposes=purposes)


def _sets(
    place: str, old: Iterable[object], new: Iterable[object], purposes: tuple[str, ...], reasons: tuple[str, str]
) -> Iterator[Change]:
    """Yield what was added to a set of things and what was taken away."""
    before, after = list(map(str, old)), list(map(str, new))
    for one in after:
        if one not in before:
            yield Change(place=place, effect=WIDENS, reason=reasons[0], old="", new=one, purposes=purposes)
    for one in before:
        if one not in after:
            yield Change(place=place, effect=NARROWS, reason=reasons[1], old=one, new="", purposes=purposes)


def _said(place: str, old: object, new: object, purposes: tuple[str, ...] = ()) -> Iterator[Change]:
    if old != new:
        was, now = ("" if one is None else str(one) for one in (old, new))
        yield Change(place=place, effect=SAYS, reason="otherwise", old=was, new=now, purposes=purposes)


def _turn(place: str, effect: str, reason: str, values: tuple[object, object], purposes: tuple[str, ...]) -> Change:
    return Change(place=place, effect=effect, reason=reason, old=str(values[0]), new=str(values[1]), purposes=purposes)


def _purposes(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    for key in sorted({*old.purposes, *new.purposes}):
        place = f"purposes.{key}"
        if key not in old.purposes:
            yield _turn(place, WIDENS, "new_purpose", ("", key), (key,))
        elif key not in new.purposes:
            yield _turn(place, NARROWS, "no_purpose", (key, ""), (key,))
        else:
            yield from _purpose(place, old.purposes[key], new.purposes[key])


def _purpose(place: str, old: Purpose, new: Purpose) -> Iterator[Change]:
    us = (new.key,)
    if old.legal_basis != new.legal_basis:
        firmer = new.legal_basis == _BASIS_FIRST
        effect, reason = (NARROWS, "firmer_basis") if firmer else (WIDENS, "weaker_basis")
        yield _turn(f"{place}.legal_basis", effect, reason, (old.legal_basis, new.legal_basis), us)
    if old.terminal != new.terminal:
        further = _TERMINALS.index(new.terminal) > _TERMINALS.index(old.terminal)
        effect, reason = (WIDENS, "terminal_further") if further else (NARROWS, "terminal_less")
        yield _turn(f"{place}.terminal", effect, reason, (old.terminal, new.terminal), us)
    elif old.terminal_ground != new.terminal_ground:
        grounds = (old.terminal_ground, new.terminal_ground)
        yield _turn(f"{place}.terminal_ground", WIDENS, "other_ground", grounds, us)
    if old.asked != new.asked:
        act = new.asked == "by_action"
        effect, reason = (NARROWS, "asked_by_act") if act else (WIDENS, "asked_less")
        yield _turn(f"{place}.asked", effect, reason, (old.asked, new.asked), us)
    yield from _key(f"{place}.data_use", old.data_use, new.data_use, us, ("other_use", "narrower_use"))
    yield from _sets(f"{place}.tcf_purposes", old.tcf_purposes, new.tcf_purposes, us, ("more_tcf", "less_tcf"))
    days = (old.lifetime / _DAY, new.lifetime / _DAY)
    yield from _step(f"{place}.lifetime_days", *days, us, ("choice_longer", "choice_shorter"))
    if old.explicit_consent != new.explicit_consent:
        effect, reason = (NARROWS, "explicit") if new.explicit_consent else (WIDENS, "not_explicit")
        yield _turn(f"{place}.explicit_consent", effect, reason, (old.explicit_consent, new.explicit_consent), us)
    if new.consent_version < old.consent_version:
        versions = (old.consent_version, new.consent_version)
        yield _turn(f"{place}.consent_version", WIDENS, "version_fell", versions, us)
    for name in ("dpv", "interest"):
        yield from _said(f"{place}.{name}", getattr(old, name), getattr(new, name), us)
    for name in ("title", "description"):
        for language, text in getattr(new, name).items():
            yield from _said(f"{place}.{name}.{language}", getattr(old, name)[language], text, us)


def _key(place: str, old: str, new: str, purposes: tuple[str, ...], reasons: tuple[str, str]) -> Iterator[Change]:
    """Yield the change of a key of the taxonomy: one below the old one narrows, any other widens."""
    if old != new:
        below = within(new, (old,))
        effect, reason = (NARROWS, reasons[1]) if below else (WIDENS, reasons[0])
        yield _turn(place, effect, reason, (old, new), purposes)


def _ruling(policy: PrivacyPolicy, pattern: str) -> FeatureRule | None:
    """Return the rule that speaks of all that `pattern` stands for: its own, else the longest prefix over it."""
    stem = pattern.removesuffix("*")
    over = [one for one in policy.features if one.pattern.endswith("*") and stem.startswith(one.pattern[:-1])]
    own = [one for one in policy.features if one.pattern == pattern]
    return own[0] if own else max(over, key=lambda one: len(one.pattern), default=None)


def _features(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    patterns = {rule.pattern for policy in (old, new) for rule in policy.features}
    for pattern in sorted(patterns):
        before, after, place = _ruling(old, pattern), _ruling(new, pattern), f"features.{pattern}"
        speaking = [rule for rule in (before, after) if rule is not None]
        if len(speaking) > 1:
            yield from _feature(place, *speaking)
            continue
        effect, reason = (WIDENS, "new_feature") if before is None else (NARROWS, "no_feature")
        yield _turn(place, effect, reason, (_kept(before), _kept(after)), (speaking[0].purpose,))


def _kept(rule: FeatureRule | None) -> str:
    return "" if rule is None else f"{rule.category}, {rule.retention_days}"


def _feature(place: str, old: FeatureRule, new: FeatureRule) -> Iterator[Change]:
    us = (new.purpose,)
    if old.purpose != new.purpose:
        yield _turn(f"{place}.purpose", WIDENS, "feature_moved", (old.purpose, new.purpose), us)
    yield from _key(f"{place}.category", old.category, new.category, us, ("other_category", "narrower_category"))
    if old.source != new.source:
        yield _turn(f"{place}.source", WIDENS, "other_source", (old.source, new.source), us)
    kept = (old.retention_days, new.retention_days)
    yield from _step(f"{place}.retention_days", *kept, us, ("kept_longer", "kept_shorter"))
    yield from _sets(f"{place}.infers", old.infers, new.infers, us, ("infers_more", "infers_less"))


def _reports(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    before, after = ({one.name: one for one in policy.reports} for policy in (old, new))
    for name in sorted({*before, *after}):
        place = f"reports.{name}"
        if name not in before:
            yield _turn(place, WIDENS, "new_report", ("", name), (after[name].purpose, *after[name].segments))
        elif name not in after:
            yield _turn(place, NARROWS, "no_report", (name, ""), (before[name].purpose,))
        else:
            yield from _report(place, before[name], after[name])


def _report(place: str, old: Report, new: Report) -> Iterator[Change]:
    us = (new.purpose,)
    if old.purpose != new.purpose:
        yield _turn(f"{place}.purpose", WIDENS, "report_moved", (old.purpose, new.purpose), us)
    yield from _sets(f"{place}.metrics", old.metrics, new.metrics, us, ("more_metrics", "fewer_metrics"))
    for name in ("epsilon", "lifetime_epsilon", "delta", "window_days"):
        values = (getattr(old, name), getattr(new, name))
        yield from _step(f"{place}.{name}", *values, us, (f"{name}_up", f"{name}_down"))
    for name in ("cohort", "quantum", "every_days"):
        values = (getattr(old, name), getattr(new, name))
        yield from _step(f"{place}.{name}", *values, us, (f"{name}_up", f"{name}_down"), up=NARROWS)
    for name in sorted({*old.clip} & {*new.clip}):
        yield from _step(f"{place}.clip.{name}", old.clip[name], new.clip[name], us, ("clip_up", "clip_down"))
    for segment in new.segments:
        if segment not in old.segments:
            yield _turn(f"{place}.segments", WIDENS, "told_apart", ("", segment), (new.purpose, segment))
    for segment in old.segments:
        if segment not in new.segments:
            yield _turn(f"{place}.segments", NARROWS, "told_together", (segment, ""), us)
    yield from _said(f"{place}.split", dict(old.split), dict(new.split), us)
    yield from _said(f"{place}.currency", old.currency, new.currency, us)


def _outward(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    before, after = ({one.name: one for one in policy.messages} for policy in (old, new))
    for name in sorted({*before, *after}):
        place = f"messages.{name}"
        if name not in before:
            yield _turn(place, WIDENS, "new_message", ("", after[name].recipient), (after[name].purpose,))
        elif name not in after:
            yield _turn(place, NARROWS, "no_message", (before[name].recipient, ""), (before[name].purpose,))
        else:
            us = (after[name].purpose,)
            if before[name].recipient != after[name].recipient:
                recipients = (before[name].recipient, after[name].recipient)
                yield _turn(f"{place}.recipient", WIDENS, "other_recipient", recipients, us)
            if before[name].purpose != after[name].purpose:
                purposes = (before[name].purpose, after[name].purpose)
                yield _turn(f"{place}.purpose", WIDENS, "message_moved", purposes, us)
            yield from _said(f"{place}.host", before[name].host, after[name].host, us)
    yield from _recipients(old, new)


def _recipients(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    was, now = ({one.name: one.country for one in policy.recipients} for policy in (old, new))
    for name in sorted({*was, *now}):
        us = _touched(new, name) if name in now else ()
        yield from _presence(f"recipients.{name}", was, now, name, us, ("new_recipient", "no_recipient"))
        if name in was and name in now and was[name] != now[name]:
            place, home = f"recipients.{name}.country", EEA.fullmatch(now[name])
            if home:
                yield from _said(place, was[name], now[name], us)
            else:
                yield _turn(place, WIDENS, "other_country", (was[name], now[name]), us)
    before, after = ({(one.recipient, one.country): one for one in policy.transfers} for policy in (old, new))
    for pair in sorted({*before, *after}):
        place, us = f"transfers.{pair[0]}.{pair[1]}", _touched(new, pair[0])
        if pair not in before:
            yield _turn(place, WIDENS, "new_transfer", ("", after[pair].safeguard), us)
        elif pair not in after:
            yield _turn(place, NARROWS, "no_transfer", (before[pair].safeguard, ""), us)
        else:
            kinds = (before[pair].kind, after[pair].kind)
            if kinds[0] != kinds[1] and kinds[1] in ("", "derogation"):
                yield _turn(f"{place}.kind", WIDENS, "weaker_safeguard", kinds, us)
            else:
                yield from _said(f"{place}.kind", *kinds)
            yield from _said(f"{place}.safeguard", before[pair].safeguard, after[pair].safeguard)


def _presence(
    place: str,
    old: Mapping[str, str],
    new: Mapping[str, str],
    name: str,
    purposes: tuple[str, ...],
    reasons: tuple[str, str],
) -> Iterator[Change]:
    if name not in old:
        yield _turn(place, WIDENS, reasons[0], ("", name), purposes)
    if name not in new:
        yield _turn(place, NARROWS, reasons[1], (name, ""), purposes)


def _touched(policy: PrivacyPolicy, recipient: str) -> tuple[str, ...]:
    named = {one.purpose for one in policy.messages if one.recipient == recipient}
    return tuple(sorted(named or policy.purposes))


def _top(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    everyone = tuple(sorted(new.purposes))
    if old.controller.name != new.controller.name:
        names = (old.controller.name, new.controller.name)
        yield _turn("controller.name", WIDENS, "other_controller", names, everyone)
    days = (old.epoch / _DAY, new.epoch / _DAY)
    yield from _step("epoch_days", *days, everyone, ("epoch_up", "epoch_down"))
    measured = tuple(sorted({one.purpose for one in new.reports}))
    if new.lifetime_epsilon and old.lifetime_epsilon:
        budget = (old.lifetime_epsilon, new.lifetime_epsilon)
        yield from _step("lifetime_epsilon", *budget, measured, ("lifetime_epsilon_up", "lifetime_epsilon_down"))
    elif old.lifetime_epsilon:
        yield _turn("lifetime_epsilon", WIDENS, "no_budget", (f"{old.lifetime_epsilon:g}", ""), measured)
    elif new.lifetime_epsilon:
        yield _turn("lifetime_epsilon", NARROWS, "budget", ("", f"{new.lifetime_epsilon:g}"), measured)
    yields = (old.signals.gpc_yields_to_later_choice, new.signals.gpc_yields_to_later_choice)
    if yields[0] != yields[1]:
        effect, reason = (WIDENS, "gpc_yields") if yields[1] else (NARROWS, "gpc_stands")
        yield _turn("signals.gpc_yields_to_later_choice", effect, reason, yields, everyone)
    yield from _decisions(old, new)
    for name in ("controller.contact", "controller.address", "dpo.name", "dpo.contact", "dpo.address"):
        party, _, part = name.partition(".")
        yield from _said(name, getattr(getattr(old, party), part), getattr(getattr(new, party), part))
    for name in ("refuse", "withdraw", "object", "erase", "access", "correct", "complain"):
        yield from _said(f"rights.{name}", getattr(old.rights, name), getattr(new.rights, name))
    for name in ("max_stale", "audit_retention_days", "children"):
        yield from _said(name, getattr(old, name), getattr(new, name))
    for name in ("security", "data_subjects", "attribution_days"):
        yield from _said(name, _listed(getattr(old, name)), _listed(getattr(new, name)))
    for name in ("tcf_vendor_id", "tcf_publisher_purposes", "cmps"):
        yield from _said(f"signals.{name}", getattr(old.signals, name), getattr(new.signals, name))
    modes = (old.signals.consent_mode, new.signals.consent_mode)
    for purpose in sorted({*modes[0], *modes[1]}):
        was, now = (_listed(mode.get(purpose, ())) for mode in modes)
        yield from _said(f"signals.consent_mode.{purpose}", was, now)
    yield from _said("roles", _listed(one.name for one in old.roles), _listed(one.name for one in new.roles))
    yield from _identifiers(old, new)


def _identifiers(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    before, after = ({one.name: one for one in policy.identifiers} for policy in (old, new))
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was is None or now is None:
            yield from _said(f"identifiers.{name}", was and name, now and name)
            continue
        for part in ("category", "method", "key_bits", "key_kept", "per_purpose", "domain"):
            yield from _said(f"identifiers.{name}.{part}", getattr(was, part), getattr(now, part))


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _decisions(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    before, after = ({one.name: one for one in policy.decisions} for policy in (old, new))
    for name in sorted({*before, *after}):
        place = f"decisions.{name}"
        if name not in before:
            effect = WIDENS if old.decisions else SAYS
            yield _turn(place, effect, "new_decision", ("", after[name].effect), (after[name].purpose,))
            continue
        if name not in after:
            yield _turn(place, NARROWS, "no_decision", (before[name].effect, ""), (before[name].purpose,))
            continue
        was, now = before[name], after[name]
        us = (now.purpose,)
        if was.effect != now.effect:
            graver = EFFECTS.index(now.effect) > EFFECTS.index(was.effect)
            effect, reason = (WIDENS, "graver") if graver else (NARROWS, "lighter")
            yield _turn(f"{place}.effect", effect, reason, (was.effect, now.effect), us)
        if was.alone != now.alone:
            effect, reason = (WIDENS, "alone") if now.alone else (NARROWS, "with_person")
            yield _turn(f"{place}.alone", effect, reason, (was.alone, now.alone), us)
        if was.purpose != now.purpose:
            yield _turn(f"{place}.purpose", WIDENS, "decision_moved", (was.purpose, now.purpose), us)
        if was.inputs and not now.inputs:
            yield _turn(f"{place}.inputs", WIDENS, "any_input", (_listed(was.inputs), ""), us)
        elif was.inputs:
            yield from _sets(f"{place}.inputs", was.inputs, now.inputs, us, ("more_inputs", "fewer_inputs"))
        elif now.inputs:
            yield _turn(f"{place}.inputs", NARROWS, "fewer_inputs", ("", _listed(now.inputs)), us)
        yield from _said(f"{place}.review", was.review, now.review, us)
