"""The consent record and its gate."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import pytest

from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.packing import pack
from entrenous_consent.policy import parse_policy
from entrenous_consent.records import SALT_BYTES, ConsentRecord, choose

POLICY = parse_policy((files("entrenous") / "demo" / "policy.toml").read_bytes())
NOW = 1_790_000_000
LIFETIME = POLICY.purposes["personalize"].lifetime
SALT = bytes(SALT_BYTES)


def record(**grants: tuple[int, int]) -> ConsentRecord:
    return ConsentRecord(grants=grants, source="app", time=NOW, expires=NOW + 1000, salt=SALT)


def written(**changes: object) -> bytes:
    fields = {
        "grants": [["history", 1, NOW]],
        "source": "app",
        "time": NOW,
        "expires": NOW,
        "salt": SALT,
        "refused": [],
    }
    return pack([*(fields | changes).values()])


def test_a_choice_grants_what_it_names_and_nothing_else():
    made = choose(POLICY, frozenset({"personalize"}), source="app", now=NOW, salt=SALT)
    assert made.granted(POLICY, NOW) == {"personalize"}
    assert made.grants == {"personalize": (1, NOW + LIFETIME)}


def test_a_refusal_is_remembered_as_long_as_a_grant():
    assert choose(POLICY, frozenset(), source="app", now=NOW, salt=SALT).expires == NOW + LIFETIME


def test_who_answered_for_every_purpose_is_asked_for_none_until_a_grant_ends():
    made = choose(POLICY, frozenset({"personalize"}), source="app", now=NOW, salt=SALT)
    assert made.refused == tuple(sorted(set(POLICY.purposes) - {"personalize"}))
    assert made.unanswered(POLICY, NOW + LIFETIME - 1) == frozenset()
    assert made.unanswered(POLICY, NOW + LIFETIME) == set(POLICY.purposes)


def test_a_widened_or_a_new_purpose_is_asked_for_and_a_refused_one_is_not():
    made = choose(POLICY, frozenset({"personalize", "measure"}), source="app", now=NOW, salt=SALT)
    widened = {
        key: replace(purpose, consent_version=2) if key in ("personalize", "history") else purpose
        for key, purpose in POLICY.purposes.items()
    }
    later = replace(POLICY, purposes=widened | {"recommend": replace(POLICY.purposes["measure"], key="recommend")})
    assert made.unanswered(later, NOW) == {"personalize", "recommend"}


def test_a_grant_that_ends_before_the_others_is_asked_for_again():
    one = replace(record(personalize=(1, NOW + 10), history=(1, NOW + 20)), refused=("improve", "measure"))
    assert one.unanswered(POLICY, NOW + 9) == frozenset()
    assert one.unanswered(POLICY, NOW + 10) == {"personalize"}


def test_a_purpose_that_the_policy_does_not_have_cannot_be_chosen():
    with pytest.raises(Forbidden):
        choose(POLICY, frozenset({"profit"}), source="app", now=NOW, salt=SALT)


@pytest.mark.parametrize("version", [0, 2])
def test_the_gate_wants_exactly_the_version_of_the_policy_in_force(version):
    assert record(personalize=(version, NOW + 10)).granted(POLICY, NOW) == frozenset()


def test_a_grant_ends_to_the_second():
    one = record(personalize=(1, NOW + 10))
    assert one.granted(POLICY, NOW + 9) == {"personalize"}
    assert one.granted(POLICY, NOW + 10) == frozenset()


def test_no_grant_outlives_the_record():
    one = replace(record(personalize=(1, NOW + 5000)), expires=NOW + 10)
    assert one.granted(POLICY, NOW + 9) == {"personalize"}
    assert one.granted(POLICY, NOW + 10) == frozenset()


def test_a_purpose_unknown_to_the_policy_is_not_granted():
    assert record(profit=(1, NOW + 10)).granted(POLICY, NOW) == frozenset()


def test_until_is_the_next_end_of_a_grant():
    one = record(personalize=(1, NOW + 10), history=(1, NOW + 20))
    assert [one.until(NOW + passed) for passed in (0, 9, 10, 20)] == [NOW + 10, NOW + 10, NOW + 20, NOW + 1000]


def test_a_record_comes_back_whole():
    one = record(personalize=(1, NOW + 10), history=(2, NOW + 20))
    assert ConsentRecord.unpack(one.pack()) == one


@pytest.mark.parametrize(
    "data",
    [
        b"garbage",
        b"",
        written()[:-1],
        written() + b"\0",
        pack([1, 2]),
        written(colour=1),
        written(source=1),
        written(time=True),
        written(time=-1),
        written(salt="x"),
        written(salt=bytes(SALT_BYTES - 1)),
        written(salt=bytes(SALT_BYTES + 1)),
        written(grants={"history": [1, NOW]}),
        written(grants=[["history", 1]]),
        written(grants=[["history", True, NOW]]),
        written(grants=[["history", 1, True]]),
        written(grants=[["history", 1.0, NOW]]),
        written(grants=[[b"history", 1, NOW]]),
        written(grants=[["history", 1, NOW], ["history", 2, NOW]]),
        written(source="x" * 70_000),
        written(refused="measure"),
        written(refused=[b"measure"]),
        written(refused=["history"]),
    ],
)
def test_bytes_that_are_no_record_are_malformed(data):
    with pytest.raises(Malformed) as caught:
        ConsentRecord.unpack(data)
    assert caught.value.place.startswith("consent record")


def test_the_bytes_those_are_changed_from_are_a_record():
    assert ConsentRecord.unpack(written()).grants == {"history": (1, NOW)}


def test_a_shorter_lifetime_holds_for_choices_that_stand_and_a_longer_one_does_not():
    made = choose(POLICY, frozenset({"personalize", "measure"}), source="app", now=NOW, salt=SALT)

    def policy(**days: int):
        purposes = {key: replace(one, lifetime=days.get(key, 180) * 86_400) for key, one in POLICY.purposes.items()}
        return replace(POLICY, purposes=purposes)

    shorter = policy(measure=5)
    assert made.under(shorter).granted(shorter, NOW + 5 * 86_400 - 1) == {"personalize", "measure"}
    assert made.under(shorter).granted(shorter, NOW + 5 * 86_400) == {"personalize"}
    assert made.under(shorter).until(NOW) == NOW + 5 * 86_400
    all_shorter = policy(**dict.fromkeys(POLICY.purposes, 5))
    assert made.under(all_shorter).expires == NOW + 5 * 86_400
    longer = policy(**dict.fromkeys(POLICY.purposes, 900))
    assert made.under(longer) == made
