"""The taxonomy that ships is fideslang's."""

from __future__ import annotations

import pytest
from fideslang.default_taxonomy import DEFAULT_TAXONOMY

from entrenous_consent.dpo.taxonomy import DEVICE, SPECIAL, load_taxonomy, within
from entrenous_consent.dpo.words import LANGUAGES

OURS = load_taxonomy()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (OURS.categories, DEFAULT_TAXONOMY.data_category),
        (OURS.subjects, DEFAULT_TAXONOMY.data_subject),
        (OURS.uses, DEFAULT_TAXONOMY.data_use),
    ],
    ids=["categories", "subjects", "uses"],
)
def test_the_keys_are_those_of_the_package(ours, theirs):
    assert set(ours) == {one.fides_key for one in theirs}


def test_every_category_and_subject_has_words_of_its_own_in_each_language():
    for named in (OURS.categories, OURS.subjects):
        for language in LANGUAGES:
            said = [words[language] for words in named.values()]
            assert all(said)
            assert len(set(said)) == len(said)


def test_a_key_without_words_is_said_as_it_is():
    assert OURS.category("user.behavior", "fr") == "comportement"
    assert OURS.subject("customer", "en") == "customers"
    assert OURS.category("x", "en") == OURS.subject("x", "en") == "x"


def test_a_key_stands_below_its_root_and_not_below_a_namesake():
    assert within("user.device", ("user.device",))
    assert within("user.device.ip_address", ("user.device",))
    assert not within("user.devices", ("user.device",))
    assert {*SPECIAL, *DEVICE} <= set(OURS.categories)
