"""What changes between two policies: what widens, what narrows, what is only said otherwise. Pure.

A change widens a purpose if, for someone who granted it before, more is done than they were told: more data, kept
longer, for another use, on a weaker ground, to someone new, with less noise or in a smaller crowd. Whatever cannot be
told apart from that counts as widening. `[[roles]]` are those who act for the controller: a new one is told, and
nobody is asked again; `[[recipients]]` are everybody else: a new one widens the purposes of the messages that name it,
or every purpose where none does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isclose

from entrenous_consent.dpo.change import NARROWS, SAYS, WIDENS, Change, listed, said, sets, step, term, turn
from entrenous_consent.dpo.rules import EEA
from entrenous_consent.dpo.signal_changes import signal_changes, string_changes
from entrenous_consent.errors import Forbidden
from entrenous_consent.policy import EFFECTS, RIGHTS, FeatureRule, Identifier, PrivacyPolicy, Purpose, Report

__all__ = ["asked_again", "compare", "unraised"]

_DAY = 86_400
_TERMINALS = ("none", "consent", "exempt")
_BASIS_FIRST = "consent"
_FIRMNESS: Mapping[str, int] = {"none": 0, "hash": 1, "table": 2, "encryption": 2, "hmac": 3}
"""How hard a method is to undo: not at all, by whoever guesses, by whoever holds the secret, by them and a guess."""

_KEYED = ("encryption", "hmac")
_LIGHT = ("content", "offer")
"""Effects of a decision that may be declared for the first time without asking anew: they are what the sdk is for."""


def compare(old: PrivacyPolicy, new: PrivacyPolicy) -> tuple[Change, ...]:
    """Return what changes from `old` to `new`, what widens first, each sort by path.

    Raises:
        Forbidden: they are policies of two tenants.
    """
    if old.tenant != new.tenant:
        remedy = f"compare it with a policy of {old.tenant}"
        raise Forbidden("is the policy of another tenant", place="tenant", remedy=remedy)
    found = [*_purposes(old, new), *_features(old, new), *_reports(old, new), *_outward(old, new)]
    found += [*_decisions(old, new), *_identifiers(old, new), *signal_changes(old, new), *_top(old, new)]
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


def _purposes(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    for key in sorted({*old.purposes, *new.purposes}):
        place = f"purposes.{key}"
        if key not in old.purposes:
            yield turn(place, WIDENS, "new_purpose", ("", key), (key,))
        elif key not in new.purposes:
            yield turn(place, NARROWS, "no_purpose", (key, ""), (key,))
        else:
            yield from _purpose(place, old.purposes[key], new.purposes[key])


def _purpose(place: str, old: Purpose, new: Purpose) -> Iterator[Change]:
    us = (new.key,)
    if old.legal_basis != new.legal_basis:
        firmer = new.legal_basis == _BASIS_FIRST
        effect, reason = (NARROWS, "firmer_basis") if firmer else (WIDENS, "weaker_basis")
        yield turn(f"{place}.legal_basis", effect, reason, (old.legal_basis, new.legal_basis), us)
    if old.terminal != new.terminal:
        further = _TERMINALS.index(new.terminal) > _TERMINALS.index(old.terminal)
        effect, reason = (WIDENS, "terminal_further") if further else (NARROWS, "terminal_less")
        yield turn(f"{place}.terminal", effect, reason, (old.terminal, new.terminal), us)
    elif old.terminal_ground != new.terminal_ground:
        grounds = (old.terminal_ground, new.terminal_ground)
        yield turn(f"{place}.terminal_ground", WIDENS, "other_ground", grounds, us)
    if old.asked != new.asked:
        act = new.asked == "by_action"
        effect, reason = (NARROWS, "asked_by_act") if act else (WIDENS, "asked_less")
        yield turn(f"{place}.asked", effect, reason, (old.asked, new.asked), us)
    yield from term(f"{place}.data_use", old.data_use, new.data_use, us, ("other_use", "narrower_use"))
    yield from string_changes(f"{place}.tcf_purposes", old, new)
    days = (old.lifetime / _DAY, new.lifetime / _DAY)
    yield from step(f"{place}.lifetime_days", *days, us, ("choice_longer", "choice_shorter"))
    if old.explicit_consent != new.explicit_consent:
        effect, reason = (NARROWS, "explicit") if new.explicit_consent else (WIDENS, "not_explicit")
        yield turn(f"{place}.explicit_consent", effect, reason, (old.explicit_consent, new.explicit_consent), us)
    if new.consent_version < old.consent_version:
        versions = (old.consent_version, new.consent_version)
        yield turn(f"{place}.consent_version", WIDENS, "version_fell", versions, us)
    for name in ("dpv", "interest"):
        yield from said(f"{place}.{name}", getattr(old, name), getattr(new, name), us)
    for name in ("title", "description"):
        for language, text in getattr(new, name).items():
            yield from said(f"{place}.{name}.{language}", getattr(old, name)[language], text, us)


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
        yield turn(place, effect, reason, (_kept(before), _kept(after)), (speaking[0].purpose,))


def _kept(rule: FeatureRule | None) -> str:
    return "" if rule is None else f"{rule.category}, {rule.retention_days}"


def _feature(place: str, old: FeatureRule, new: FeatureRule) -> Iterator[Change]:
    us = (new.purpose,)
    if old.purpose != new.purpose:
        yield turn(f"{place}.purpose", WIDENS, "feature_moved", (old.purpose, new.purpose), us)
    yield from term(f"{place}.category", old.category, new.category, us, ("other_category", "narrower_category"))
    if old.source != new.source:
        yield turn(f"{place}.source", WIDENS, "other_source", (old.source, new.source), us)
    kept = (old.retention_days, new.retention_days)
    yield from step(f"{place}.retention_days", *kept, us, ("kept_longer", "kept_shorter"))
    yield from sets(f"{place}.infers", old.infers, new.infers, us, ("infers_more", "infers_less"))


def _reports(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    before, after = ({one.name: one for one in policy.reports} for policy in (old, new))
    for name in sorted({*before, *after}):
        place = f"reports.{name}"
        if name not in before:
            yield turn(place, WIDENS, "new_report", ("", name), (after[name].purpose, *after[name].segments))
        elif name not in after:
            yield turn(place, NARROWS, "no_report", (name, ""), (before[name].purpose,))
        else:
            yield from _report(place, before[name], after[name])


def _report(place: str, old: Report, new: Report) -> Iterator[Change]:
    us = (new.purpose,)
    if old.purpose != new.purpose:
        yield turn(f"{place}.purpose", WIDENS, "report_moved", (old.purpose, new.purpose), us)
    yield from sets(f"{place}.metrics", old.metrics, new.metrics, us, ("more_metrics", "fewer_metrics"))
    for name in ("epsilon", "lifetime_epsilon", "delta", "window_days"):
        values = (getattr(old, name), getattr(new, name))
        yield from step(f"{place}.{name}", *values, us, (f"{name}_up", f"{name}_down"))
    for name in ("cohort", "quantum", "every_days"):
        values = (getattr(old, name), getattr(new, name))
        yield from step(f"{place}.{name}", *values, us, (f"{name}_up", f"{name}_down"), up=NARROWS)
    for name in sorted({*old.clip} & {*new.clip}):
        yield from step(f"{place}.clip.{name}", old.clip[name], new.clip[name], us, ("clip_up", "clip_down"))
    for segment in new.segments:
        if segment not in old.segments:
            yield turn(f"{place}.segments", WIDENS, "told_apart", ("", segment), (new.purpose, segment))
    for segment in old.segments:
        if segment not in new.segments:
            yield turn(f"{place}.segments", NARROWS, "told_together", (segment, ""), us)
    yield from _shares(f"{place}.split", old, new)
    yield from said(f"{place}.currency", old.currency, new.currency, us)


def _shares(place: str, old: Report, new: Report) -> Iterator[Change]:
    """Yield what a sum's share of epsilon gains or loses: less noise in one widens, whatever others lose."""
    both = [metric for metric in new.metrics if metric in old.metrics]
    was, now = ({metric: one.split.get(metric, 1.0) for metric in both} for one in (old, new))
    for metric in both:
        shares = was[metric] / sum(was.values()), now[metric] / sum(now.values())
        if not isclose(*shares):
            yield from step(f"{place}.{metric}", *shares, (new.purpose,), ("share_up", "share_down"))


def _outward(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    before, after = ({one.name: one for one in policy.messages} for policy in (old, new))
    for name in sorted({*before, *after}):
        place = f"messages.{name}"
        if name not in before:
            yield turn(place, WIDENS, "new_message", ("", after[name].recipient), (after[name].purpose,))
        elif name not in after:
            yield turn(place, NARROWS, "no_message", (before[name].recipient, ""), (before[name].purpose,))
        else:
            us = (after[name].purpose,)
            if before[name].recipient != after[name].recipient:
                recipients = (before[name].recipient, after[name].recipient)
                yield turn(f"{place}.recipient", WIDENS, "other_recipient", recipients, us)
            if before[name].purpose != after[name].purpose:
                purposes = (before[name].purpose, after[name].purpose)
                yield turn(f"{place}.purpose", WIDENS, "message_moved", purposes, us)
            yield from said(f"{place}.host", before[name].host, after[name].host, us)
    yield from _recipients(old, new)


def _recipients(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    was, now = ({one.name: one.country for one in policy.recipients} for policy in (old, new))
    for name in sorted({*was, *now}):
        us = _touched(new, name) if name in now else ()
        yield from _presence(f"recipients.{name}", was, now, name, us, ("new_recipient", "no_recipient"))
        if name in was and name in now and was[name] != now[name]:
            place, home = f"recipients.{name}.country", EEA.fullmatch(now[name])
            if home:
                yield from said(place, was[name], now[name], us)
            else:
                yield turn(place, WIDENS, "other_country", (was[name], now[name]), us)
    before, after = ({(one.recipient, one.country): one for one in policy.transfers} for policy in (old, new))
    for pair in sorted({*before, *after}):
        place, us = f"transfers.{pair[0]}.{pair[1]}", _touched(new, pair[0])
        if pair not in before:
            yield turn(place, WIDENS, "new_transfer", ("", after[pair].safeguard), us)
        elif pair not in after:
            yield turn(place, NARROWS, "no_transfer", (before[pair].safeguard, ""), us)
        else:
            kinds = (before[pair].kind, after[pair].kind)
            if kinds[0] != kinds[1] and kinds[1] in ("", "derogation"):
                yield turn(f"{place}.kind", WIDENS, "weaker_safeguard", kinds, us)
            else:
                yield from said(f"{place}.kind", *kinds)
            yield from said(f"{place}.safeguard", before[pair].safeguard, after[pair].safeguard)


def _presence(
    place: str,
    old: Mapping[str, str],
    new: Mapping[str, str],
    name: str,
    purposes: tuple[str, ...],
    reasons: tuple[str, str],
) -> Iterator[Change]:
    if name not in old:
        yield turn(place, WIDENS, reasons[0], ("", name), purposes)
    if name not in new:
        yield turn(place, NARROWS, reasons[1], (name, ""), purposes)


def _touched(policy: PrivacyPolicy, recipient: str) -> tuple[str, ...]:
    named = {one.purpose for one in policy.messages if one.recipient == recipient}
    return tuple(sorted(named or policy.purposes))


def _top(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    everyone = tuple(sorted(new.purposes))
    if old.controller.name != new.controller.name:
        names = (old.controller.name, new.controller.name)
        yield turn("controller.name", WIDENS, "other_controller", names, everyone)
    days = (old.epoch / _DAY, new.epoch / _DAY)
    yield from step("epoch_days", *days, everyone, ("epoch_up", "epoch_down"))
    measured = tuple(sorted({one.purpose for one in new.reports}))
    if new.lifetime_epsilon and old.lifetime_epsilon:
        budget = (old.lifetime_epsilon, new.lifetime_epsilon)
        yield from step("lifetime_epsilon", *budget, measured, ("lifetime_epsilon_up", "lifetime_epsilon_down"))
    elif old.lifetime_epsilon:
        yield turn("lifetime_epsilon", WIDENS, "no_budget", (f"{old.lifetime_epsilon:g}", ""), measured)
    elif new.lifetime_epsilon:
        yield turn("lifetime_epsilon", NARROWS, "budget", ("", f"{new.lifetime_epsilon:g}"), measured)
    for name in ("controller.contact", "controller.address", "dpo.name", "dpo.contact", "dpo.address"):
        party, _, part = name.partition(".")
        yield from said(name, getattr(getattr(old, party), part), getattr(getattr(new, party), part))
    for name in RIGHTS:
        yield from said(f"rights.{name}", getattr(old.rights, name), getattr(new.rights, name))
    yield from step("audit_retention_days", old.audit_days, new.audit_days, (), ("audit_longer", "audit_shorter"))
    yield from said("max_stale_days", old.max_stale // _DAY, new.max_stale // _DAY)
    yield from said("children", old.children, new.children)
    for name in ("security", "data_subjects", "attribution_days"):
        yield from said(name, listed(getattr(old, name)), listed(getattr(new, name)))
    yield from said("roles", listed(one.name for one in old.roles), listed(one.name for one in new.roles))


def _decisions(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    if old.decisions and not new.decisions:
        names, told = listed(one.name for one in old.decisions), {one.purpose for one in old.decisions}
        yield turn("decisions", WIDENS, "decisions_untold", (names, ""), tuple(sorted(told)))
        return
    before, after = ({one.name: one for one in policy.decisions} for policy in (old, new))
    for name in sorted({*before, *after}):
        place = f"decisions.{name}"
        if name not in before:
            effect = WIDENS if old.decisions or after[name].effect not in _LIGHT else SAYS
            yield turn(place, effect, "new_decision", ("", after[name].effect), (after[name].purpose,))
            continue
        if name not in after:
            yield turn(place, NARROWS, "no_decision", (before[name].effect, ""), (before[name].purpose,))
            continue
        was, now = before[name], after[name]
        us = (now.purpose,)
        if was.effect != now.effect:
            graver = EFFECTS.index(now.effect) > EFFECTS.index(was.effect)
            effect, reason = (WIDENS, "graver") if graver else (NARROWS, "lighter")
            yield turn(f"{place}.effect", effect, reason, (was.effect, now.effect), us)
        if was.alone != now.alone:
            effect, reason = (WIDENS, "alone") if now.alone else (NARROWS, "with_person")
            yield turn(f"{place}.alone", effect, reason, (was.alone, now.alone), us)
        if was.purpose != now.purpose:
            yield turn(f"{place}.purpose", WIDENS, "decision_moved", (was.purpose, now.purpose), us)
        if was.inputs and not now.inputs:
            yield turn(f"{place}.inputs", WIDENS, "any_input", (listed(was.inputs), ""), us)
        elif was.inputs:
            yield from sets(f"{place}.inputs", was.inputs, now.inputs, us, ("more_inputs", "fewer_inputs"))
        elif now.inputs:
            yield turn(f"{place}.inputs", NARROWS, "fewer_inputs", ("", listed(now.inputs)), us)
        yield from said(f"{place}.review", was.review, now.review, us)


def _identifiers(old: PrivacyPolicy, new: PrivacyPolicy) -> Iterator[Change]:
    everyone = tuple(sorted(new.purposes))
    if old.identifiers and not new.identifiers:
        names = listed(one.name for one in old.identifiers)
        yield turn("identifiers", WIDENS, "identifiers_untold", (names, ""), everyone)
        return
    before, after = ({one.name: one for one in policy.identifiers} for policy in (old, new))
    for name in sorted({*before, *after}):
        place, was, now = f"identifiers.{name}", before.get(name), after.get(name)
        if now is None:
            yield turn(place, NARROWS, "no_identifier", (name, ""), everyone)
        elif was is None:
            effect = WIDENS if old.identifiers or not _keyed_well(now) else SAYS
            yield turn(place, effect, "new_identifier", ("", f"{now.category}, {now.method}"), everyone)
        else:
            yield from _identifier(place, was, now, everyone)


def _keyed_well(one: Identifier) -> bool:
    return one.method in _KEYED and one.key_kept == "apart" and one.per_purpose


def _identifier(place: str, old: Identifier, new: Identifier, everyone: tuple[str, ...]) -> Iterator[Change]:
    yield from term(f"{place}.category", old.category, new.category, everyone, ("other_category", "narrower_category"))
    firmness = _FIRMNESS[old.method], _FIRMNESS[new.method]
    if firmness[0] == firmness[1]:
        yield from said(f"{place}.method", old.method, new.method, everyone)
    else:
        effect, reason = (WIDENS, "weaker_method") if firmness[1] < firmness[0] else (NARROWS, "firmer_method")
        yield turn(f"{place}.method", effect, reason, (old.method, new.method), everyone)
    if old.method in _KEYED and new.method in _KEYED:
        bits = (old.key_bits, new.key_bits)
        yield from step(f"{place}.key_bits", *bits, everyone, ("longer_key", "shorter_key"), up=NARROWS)
    if old.key_kept != new.key_kept:
        effect, reason = (WIDENS, "key_beside") if new.key_kept == "beside" else (NARROWS, "key_apart")
        yield turn(f"{place}.key_kept", effect, reason, (old.key_kept, new.key_kept), everyone)
    if old.per_purpose != new.per_purpose:
        effect, reason = (NARROWS, "own_pseudonyms") if new.per_purpose else (WIDENS, "shared_pseudonyms")
        yield turn(f"{place}.per_purpose", effect, reason, (old.per_purpose, new.per_purpose), everyone)
    yield from said(f"{place}.domain", old.domain, new.domain, everyone)
