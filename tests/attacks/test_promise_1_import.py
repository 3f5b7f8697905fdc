"""Promise 1, nothing without consent: an import is no way around it, and no identifier of a row is kept or told."""

from __future__ import annotations

import json

import pytest
from tests.shop import Shop
from tests.telling import listen

from entrenous import Client
from entrenous.importing.mapping import parse_mapping, read_mapping

CANARY = "canary-4711@example.org"
COLUMNS = b"""
format = 1
kind = "attributes"
visitor = "customer"
time = "since"
time_unit = "seconds"
[fields]
tier = "tier"
"""


@pytest.fixture
def client(shop: Shop) -> Client:
    listen(shop)
    return shop.open()


def known(shop: Shop, who: str = CANARY) -> dict[str, object]:
    return {"customer": who, "since": shop.clock() - 60, "tier": "gold", "e_mail": CANARY}


def test_who_granted_nothing_is_counted_and_no_record_is_made_of_them(shop, client):
    run = client._engine.custody.store._writer.execute
    mapping, before = parse_mapping(COLUMNS), run("select count(*) from records").fetchall()
    taking = client.importing(mapping)
    taking.take([known(shop), known(shop, "another")])
    assert taking.report()["passed_over"] == {"consent_missing": {"count": 2, "rows": [1, 2]}}
    assert run("select count(*) from records").fetchall() == before


@pytest.mark.parametrize("choices", [{}, {"history": True}, {"measure": True}])
def test_a_purpose_that_is_not_granted_receives_nothing(shop, client, choices):
    visitor = client.visitor(CANARY)
    visitor.consent(choices)
    taking = client.importing(parse_mapping(COLUMNS))
    taking.take([known(shop)])
    assert taking.report()["kept"] == 0
    visitor.consent({"personalize": True})
    held = visitor.export().data["purposes"].get("personalize", {}).get("features", {})
    assert held.get("visit_tier") is None


def test_a_withdrawal_between_two_batches_ends_it(shop, client):
    visitor = client.visitor(CANARY)
    visitor.consent({"personalize": True})
    taking = client.importing(parse_mapping(COLUMNS))
    taking.take([known(shop)])
    visitor.consent({})
    taking.take([known(shop) | {"since": shop.clock() - 5}])
    assert (taking.report()["kept"], taking.report()["passed_over"]["consent_missing"]["rows"]) == (1, [2])


def test_no_identifier_is_in_a_file_a_report_or_the_audit_log(shop, client, caplog):
    client.visitor(CANARY).consent({"personalize": True})
    for mapping in (parse_mapping(COLUMNS), read_mapping("entrenous")):
        taking = client.importing(mapping)
        taking.take([known(shop), {"visitor": CANARY, "name": CANARY, "time": CANARY}, CANARY])
        assert CANARY not in json.dumps(taking.report())
    assert CANARY not in caplog.text
    assert not [path for path, data in shop.files().items() if CANARY.encode() in data]
