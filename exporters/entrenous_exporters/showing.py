"""What a person is shown before they sign: a bundle, a policy, a change of keys, in words. Pure.

Whoever signs answers for all of it: a bundle's words leave nothing out but the models' bytes, a policy's are its gist
and then every difference to the one before. Nothing in them can draw over what stands beside it: every character that
does not print is written as its escape.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from entrenous.bundle import Bundle
from entrenous.decisions.form import DecisionRule
from entrenous.features import Feature
from entrenous.recommending.strategy import Recommending
from entrenous.targeting.wording import as_cel
from entrenous.updates.verify import Listed
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.pseudonyms import BUCKETS
from entrenous_exporters.ceremony import delegated_keys

__all__ = ["date", "plain", "show_bundle", "show_change", "show_listed", "show_policy", "show_policy_change"]

_DAY = 86_400


def plain(text: object) -> str:
    """Return one printable line: line ends, colours, and marks that turn the direction of writing are escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in str(text))


def date(seconds: float) -> str:
    """Return a time in Unix seconds as a date and time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def show_bundle(bundle: Bundle, length: int) -> list[str]:
    """Return a bundle in words; `length` in bytes."""
    manifest = bundle.manifest
    lines = [
        f"bundle {manifest.name}, version {manifest.version}",
        f"  created {date(manifest.created)}, expires {date(manifest.expires)}",
        f"  {length:,} bytes, SHA-256 {bundle.digest.hex()}",
        f"  model card SHA-256 {manifest.card.hex()}",
    ]
    if manifest.public_research_data:
        lines.append("  learnt from public research data, not from visitors of this shop")
    for name, rule in manifest.decisions.items():
        lines += _decision(name, rule)
    for purpose in sorted({feature.purpose for feature in manifest.features}):
        lines.append(f"features under {purpose}")
        lines += [f"  {_feature(feature)}" for feature in manifest.features if feature.purpose == purpose]
    lines += [
        f"model {name}: {size:,} bytes, SHA-256 {digest.hex()}" for name, (digest, size) in manifest.models.items()
    ]
    lines += [
        f"table {name}: {size:,} bytes, SHA-256 {digest.hex()}" for name, (digest, size) in manifest.tables.items()
    ]
    return [plain(line) for line in lines]


def _feature(feature: Feature) -> str:
    told = ("name", "purpose", "category", "source", "retention_days")
    how = ", ".join(f"{key} {value}" for key, value in feature.as_table().items() if key not in told)
    return f"{feature.name}: {feature.category}, from {feature.source}, kept {feature.retention_days} days; {how}"


def _decision(name: str, rule: DecisionRule) -> Iterator[str]:
    scored = f"by model {rule.model}, tolerance {rule.tolerance:g}" if rule.width else "scores nothing"
    yield f"decision {name}: {rule.kind}, needs {rule.purpose}, {scored}"
    for pattern in rule.patterns:
        cuts = ", ".join(f"{cut:g}" for cut in pattern.cuts)
        yield f"  pattern {' + '.join(pattern.purposes) or 'no purpose'}: cuts {cuts or 'none'}"
    for tranche in rule.tranches:
        if len(rule.choice[tranche]) > 1:
            yield f"  tranche {tranche} draws {rule.spoken(tranche)}"
    if rule.costs:
        yield f"  an action is taken where it adds more than {', '.join(f'{cost:g}' for cost in rule.costs)}"
    for arm, answer in rule.arms.items():
        tranches = ", ".join(tranche for tranche in rule.tranches if arm in rule.choice[tranche])
        default = ", the default" if arm == rule.default_arm else ""
        shown = f", shows {answer.payload}" if answer.payload else ""
        yield f"  arm {arm}{default}: answers {answer.value!r} to {tranches or 'no tranche'}{shown}"
        if answer.offer:
            offer, whom = answer.offer, "some" if answer.offer.personalised else "everyone"
            promised = f"{offer.amount:,} off from {offer.threshold:,} (minor units, {offer.currency})"
            yield f"    promises {promised} to {whom}, kept for {offer.valid_days} days"
    if rule.experiment:
        share = rule.experiment.holdout / 100
        yield f"  experiment {rule.experiment.id}: {share:g} % of those who granted {rule.experiment.purpose} held out"
        if rule.experiment.taken < BUCKETS - rule.experiment.holdout:
            yield f"    and {rule.experiment.taken / 100:g} % take part so far"
    if rule.cap:
        yield f"  at most {rule.cap.decisions} other than the default in {rule.cap.days} days"
    if rule.recommending:
        yield from _lists(rule.recommending)


def _lists(recommending: Recommending) -> Iterator[str]:
    yield f"  recommends from {recommending.catalogue}, by what follows in {recommending.successors or 'nothing'}"
    if recommending.spread:
        yield f"    spread over {recommending.spread}"
    for feature, attribute in recommending.tastes.items():
        yield f"    {feature} names a {attribute}"
    for arm, strategy in recommending.strategies.items():
        how = ", ".join(f"{key} {value:g}" for key, value in strategy.as_table().items())
        yield f"    strategy of {arm}: {how or 'what is popular'}"
    for rule in recommending.merchandising:
        what = ", ".join(str(item) for item in rule.items) or f"{rule.attribute} {rule.value}"
        times = f" times {rule.factor:g}" if rule.action == "boost" else ""
        whom = f" where {as_cel(rule.when)}" if rule.when is not None else ""
        yield f"    {rule.action} {what}{times}{whom}"


def show_listed(target: Listed) -> str:
    """Return a listed target in one line."""
    return plain(f"{target.path}, version {target.version}, {target.length:,} bytes, SHA-256 {target.digest.hex()}")


def show_policy(policy: PrivacyPolicy, length: int) -> list[str]:
    """Return a policy in words; `length` in bytes."""
    lines = [
        f"policy of {policy.tenant}, version {policy.version}",
        f"  {length:,} bytes, SHA-256 {policy.digest.hex()}",
        f"  serves offline for {policy.max_stale // _DAY} days; pseudonyms last {policy.epoch // _DAY} days",
    ]
    for key, purpose in policy.purposes.items():
        lines.append(
            f"purpose {key}: consent version {purpose.consent_version}, legal basis {purpose.legal_basis}, "
            f"terminal {purpose.terminal}, choices last {purpose.lifetime // _DAY} days"
        )
    lines += [
        f"features {rule.pattern}: {rule.purpose}, {rule.category}, from {rule.source}, "
        f"kept at most {rule.retention_days} days"
        for rule in policy.features
    ]
    lines += [
        f"report {report.name}: {report.purpose}, cohort {report.cohort}, epsilon {report.epsilon:g} an experiment, "
        f"{report.lifetime_epsilon:g} in all, delta {report.delta:g}, outcomes of {report.window_days} days, "
        f"every {report.every_days} days, {', '.join(report.metrics)}"
        for report in policy.reports
    ]
    lines += [f"message {one.name}: {one.purpose}, to {one.recipient}" for one in policy.messages]
    lines += [f"transfer to {one.recipient} in {one.country}: {one.safeguard}" for one in policy.transfers]
    return [plain(line) for line in lines]


def show_policy_change(before: bytes, after: bytes) -> list[str]:
    """Return every difference between two policies (TOML that parses; empty for none), a line each, by path."""
    old, new = _table(before), _table(after)
    lines = []
    for path in sorted({*old, *new}):
        if path not in new:
            lines.append(f"- {path} = {old[path]}")
        elif path not in old:
            lines.append(f"+ {path} = {new[path]}")
        elif old[path] != new[path]:
            lines.append(f"~ {path}: {old[path]} → {new[path]}")
    return [plain(line) for line in lines]


def _table(data: bytes) -> dict[str, str]:
    """Return every value of a document by its path; a path that stands twice gets a mark, so that nothing is lost."""
    table: dict[str, str] = {}
    for path, value in _leaves("", tomllib.loads(data.decode())):
        free = path
        while free in table:
            free += "'"
        table[free] = value
    return table


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, one)
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        for number, one in enumerate(value):
            yield from _leaves(f"{path}[{one.get('name', number)}]", one)
    else:
        yield path, repr(value)


def show_change(before: Root | Targets | None, after: Root | Targets, names: Mapping[str, str]) -> list[str]:
    """Return what a new `root` or `targets` changes, in words, and who may sign from then on.

    The second is what counts: a thief who writes to the repository could have changed what is compared with.

    Args:
        before: the one in place; None at the first. names: of holders, by key id; a key without one has only its id.
    """
    lines = [f"{after.type}, version {after.version}, expires {date(after.expires.timestamp())}"]
    was, will = delegated_keys(before) if before else {}, delegated_keys(after)
    for role in (*will, *(role for role in was if role not in will)):
        threshold, keys = will.get(role, (0, {}))
        old_threshold, old_keys = was.get(role, (0, {}))
        lines += [f"  {role}: adds {_holder(key, names)}" for keyid, key in keys.items() if keyid not in old_keys]
        lines += [f"  {role}: revokes {_holder(key, names)}" for keyid, key in old_keys.items() if keyid not in keys]
        if threshold != old_threshold:
            before_it = f" (was {old_threshold})" if old_threshold else ""
            lines.append(f"  {role}: {threshold} of {len(keys)} must sign{before_it}")
    if before is not None:
        lines += [f"  also changes {name}" for name in _others(before, after)]
        if len(lines) == 1:
            lines.append("  changes nothing but its version and its expiry")
        for role, (threshold, keys) in will.items():
            held = ", ".join(_holder(key, names) for key in keys.values())
            lines.append(f"  from then on {role}: {threshold} of {held}")
    return [plain(line) for line in lines]


def _holder(key: Key, names: Mapping[str, str]) -> str:
    name = names.get(key.keyid)
    return f"{name} (key {key.keyid})" if name else f"a key without a .pub file here ({key.keyid})"


def _others(before: Root | Targets, after: Root | Targets) -> list[str]:
    """Return the names of all that differs and is neither version, expiry, keys nor who may sign."""
    old, new = before.to_dict(), after.to_dict()
    for table in (old, new):
        for known in ("version", "expires", "keys"):
            table.pop(known, None)
        delegations = table.get("delegations", {})
        delegations.pop("keys", None)
        roles = table.get("roles") or delegations.get("roles", [])
        for role in roles.values() if isinstance(roles, dict) else roles:
            role.pop("keyids", None)
            role.pop("threshold", None)
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
