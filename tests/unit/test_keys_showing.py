"""What a person is shown before they sign: all of it, and nothing that could draw over it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from securesystemslib.signer import CryptoSigner
from tests.repository import bundle_bytes, policy_bytes, signers
from tests.shop import NOON
from tuf.api.metadata import Root, Targets

from entrenous.bundle import encode_bundle, read_bundle
from entrenous_consent.policy import parse_policy
from entrenous_exporters.ceremony import Lifetimes, change_keys, first_metadata
from entrenous_exporters.showing import plain, show_bundle, show_change, show_policy, show_policy_change

BUNDLE = read_bundle(bundle_bytes(3))


def layout() -> tuple[Root, Targets]:
    keys = {role: [one.public_key for one in held] for role, held in signers().items()}
    made = first_metadata(keys, Lifetimes(), NOON)
    return made["root"].signed, made["targets"].signed


def test_a_bundle_is_shown_whole():
    shown = "\n".join(show_bundle(BUNDLE, len(bundle_bytes(3))))
    manifest = BUNDLE.manifest
    told = [manifest.name, "version 3", f"{len(bundle_bytes(3)):,} bytes", BUNDLE.digest.hex(), manifest.card.hex()]
    told += ["public research data", "expires 20"]
    for name, rule in manifest.decisions.items():
        told += [f"decision {name}", f"needs {rule.purpose}", f"tolerance {rule.tolerance:g}", *rule.tranches]
        told += [" + ".join(pattern.purposes) for pattern in rule.patterns]
        told += [f"{cut:g}" for pattern in rule.patterns for cut in pattern.cuts]
        told += [text for name, arm in rule.arms.items() for text in (f"arm {name}", repr(arm.value), arm.payload)]
        assert rule.experiment
        assert rule.cap
        told += [rule.experiment.id, f"at most {rule.cap.decisions}", f"in {rule.cap.days} days"]
    for feature in manifest.features:
        table = feature.as_table()
        told += [feature.name, feature.category, feature.source, f"kept {feature.retention_days} days"]
        told += [f"{key} {table[key]}" for key in ("kind", "event", "window") if key in table]
    told += [digest.hex() for digest, _ in manifest.models.values()]
    assert [one for one in told if plain(one) not in shown] == []


def test_features_stand_under_their_purpose():
    lines = show_bundle(BUNDLE, 1)
    for feature in BUNDLE.manifest.features:
        at = next(number for number, line in enumerate(lines) if line.startswith(f"  {feature.name}:"))
        heads = [line for line in lines[:at] if not line.startswith(" ")]
        assert heads[-1] == f"features under {feature.purpose}"


@pytest.mark.parametrize("mark", ["\x1b[2K\r", "\n", "\u202e", "\u2028", "\x9b1A", "\u200b"])
def test_nothing_in_a_bundle_draws_over_what_stands_beside_it(mark: str):
    feature = replace(BUNDLE.manifest.features[0], category=f"user{mark}behavior")
    manifest = replace(BUNDLE.manifest, features=(feature, *BUNDLE.manifest.features[1:]))
    lines = show_bundle(read_bundle(encode_bundle(manifest, BUNDLE.models)), 1)
    assert not [line for line in lines if mark in line]
    assert all(line.isprintable() for line in lines)
    assert any("user\\" in line for line in lines)


def test_accents_are_left_alone():
    assert plain("10 € de réduction dès 100 €") == "10 € de réduction dès 100 €"


def test_a_policy_is_shown_with_what_binds():
    policy = parse_policy(policy_bytes(2))
    shown = "\n".join(show_policy(policy, 7))
    told = ["policy of demo_shop, version 2", "7 bytes", sha256(policy_bytes(2)).hexdigest(), "offline for 14 days"]
    told += [f"purpose {key}: consent version 1, legal basis consent" for key in policy.purposes]
    told += [f"features {one.pattern}: {one.purpose}" for one in policy.features]
    told += [f"kept at most {one.retention_days} days" for one in policy.features]
    told += [
        "report promotion: measure, cohort 20, epsilon 4 an experiment, 12 in all, delta 1e-09, outcomes of 30 days, "
        "every 30 days, visitors, converters, orders, orders2, revenue, revenue2, revenue_orders"
    ]
    assert [one for one in told if one not in shown] == []


def test_every_difference_between_two_policies_is_shown_and_nothing_else():
    before = policy_bytes(1)
    after = policy_bytes(2).replace(b"cohort = 20", b"cohort = 5")
    after = after.replace(b'legal_basis = "consent"', b'legal_basis = "legitimate_interests"', 1)
    after = after.replace(b'[[features]]\nname = "hour"', b'[[features]]\nname = "minute"')
    after = after.replace(b'  "keys lie apart from data and are destroyed on erasure",\n', b"")
    lines = show_policy_change(before, after)
    assert [line.partition(":")[0] for line in lines if line.startswith("~")] == [
        "~ purposes.personalize.legal_basis",
        "~ reports[promotion].cohort",
        "~ security",
        "~ version",
    ]
    assert "~ reports[promotion].cohort: 20 → 5" in lines
    assert {line[:17] for line in lines if line[0] in "+-"} == {"+ features[minute", "- features[hour]."}
    assert show_policy_change(before, before) == []


def test_a_first_policy_shows_every_value():
    lines = show_policy_change(b"", policy_bytes())
    assert all(line.startswith("+ ") for line in lines)
    for part in ("dpo.contact", "signals.gpc_yields_to_later_choice = False", "attribution.windows_days = [30]"):
        assert any(part in line for line in lines), part


def test_two_entries_of_one_name_are_both_shown():
    double = b'[[messages]]\nname = "a"\nto = 1\n[[messages]]\nname = "a"\nto = 2\n'
    assert len([line for line in show_policy_change(b"", double) if ".to" in line]) == 2


def test_a_change_of_keys_is_told_in_words():
    (root, targets), (old_root, old_targets) = layout(), layout()
    new, gone = CryptoSigner.generate_ed25519().public_key, signers()["models"][0].public_key
    change_keys(root, targets, "models", [new], [gone.keyid])
    lines = show_change(old_targets, targets, {new.keyid: "ada"})
    unnamed = "a key without a .pub file here"
    assert lines[1:3] == [f"  models: adds ada (key {new.keyid})", f"  models: revokes {unnamed} ({gone.keyid})"]
    assert lines[3] == f"  from then on models: 1 of ada (key {new.keyid})"
    assert [line[:26] for line in lines[4:]] == ["  from then on privacy: 1 of"[:26]]
    root.roles["targets"].threshold = 1
    assert show_change(old_root, root, {})[1] == "  targets: 1 of 2 must sign (was 2)"


def test_a_holder_sees_everybody_who_may_sign_from_then_on():
    """A thief put their keys into what is compared with: no difference tells, the whole list does."""
    (root, _), (forged, _) = layout(), layout()
    thief = CryptoSigner.generate_ed25519().public_key
    for one in (root, forged):
        one.add_key(thief, "root")
    names = {one.public_key.keyid: f"holder_{number}" for number, one in enumerate(signers()["root"])}
    shown = show_change(forged, root, names)
    (told,) = (line for line in shown if line.startswith("  from then on root: "))
    assert "2 of holder_0 (key " in told
    assert told.endswith(f"a key without a .pub file here ({thief.keyid})")


def test_a_renewal_says_that_it_changes_nothing_else():
    (root, _), (old_root, _) = layout(), layout()
    root.version, root.expires = 2, Lifetimes().end("root", NOON + 999)
    lines = show_change(old_root, root, {})
    assert lines[1] == "  changes nothing but its version and its expiry"
    assert all(line.startswith("  from then on ") for line in lines[2:])


def test_the_first_layout_names_every_key_and_threshold():
    root, _ = layout()
    lines = "\n".join(show_change(None, root, {}))
    for role in ("root", "targets", "snapshot", "timestamp"):
        assert all(
            f"{role}: adds a key without a .pub file here ({one.public_key.keyid})" in lines for one in signers()[role]
        )
    assert "root: 2 of 2 must sign" in lines


def test_what_is_neither_key_nor_threshold_is_named_too():
    (_, targets), (_, old) = layout(), layout()
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles["models"].paths = ["*"]
    assert show_change(old, targets, {})[1] == "  also changes delegations"
    (root, _), (old_root, _) = layout(), layout()
    root.consistent_snapshot = False
    assert show_change(old_root, root, {})[1] == "  also changes consistent_snapshot"
