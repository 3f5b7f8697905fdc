"""Promise 8, forgetting is real: expired is unreadable before it is swept, and what was erased no key of ours opens."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from entrenous_consent.custody import Custody
from entrenous_consent.errors import Unauthentic
from entrenous_consent.sqlite import SQLiteStore

DAY = 86_400


def _wrapped(client) -> list[bytes]:
    """Return every wrapped key in the store."""
    rows = client._engine.custody.store._writer.execute("select wrapped from slots").fetchall()
    return [wrapped for (wrapped,) in rows if wrapped != bytes(64)]


def test_what_expired_is_unreadable_before_it_is_swept(shop, client, agreed):
    agreed.observe("purchase", value=4900, currency="EUR")
    agreed.observe("view_item")
    shop.clock.now += 90 * DAY - 1
    held = agreed.export().data["purposes"]
    assert held["personalize"]["features"]["visit_views_7d"] == 0
    shop.clock.now += 1
    files = shop.files()
    assert agreed.export().data["purposes"]["history"]["features"]["bought_orders_90d"] == 0
    assert client.sweep() > 0
    assert shop.files() != files


def test_an_erasure_with_a_reader_open_is_pending_then_done(shop, client, agreed, monkeypatch):
    monkeypatch.setattr("entrenous_consent.sqlite._SCRUB_WAIT", 0.05)
    agreed.observe("view_item")
    keys = _wrapped(client)
    assert len(keys) == 5
    reader = sqlite3.connect(client._engine.custody.store._path, isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from records").fetchall()
    assert agreed.erase().cause == "pending"
    assert agreed.export().data == {}
    reader.execute("commit")
    assert agreed.erase() == agreed.erase()
    assert agreed.erase().cause == ""
    reader.close()
    assert _wrapped(client) == []
    assert not any(key in data for data in shop.files().values() for key in keys)


def test_among_many_visitors_no_erased_key_survives_in_any_file(shop, client):
    visitors = [client.visitor(f"customer-{number}") for number in range(300)]
    for visitor in visitors:
        visitor.consent(client.example_choices)
    for turn in range(4):
        for visitor in visitors:
            visitor.observe_all([{"name": "view_item", "category": "boots"}] * (turn + 1))
    before = set(_wrapped(client))
    assert all(any(key in data for data in shop.files().values()) for key in before)
    for visitor in visitors[::3]:
        assert visitor.erase().cause == ""
    dead = before - set(_wrapped(client))
    assert len(dead) == 5 * len(visitors[::3])
    assert not any(key in data for data in shop.files().values() for key in dead)


def test_a_withdrawn_purposes_key_dies_and_the_others_live(shop, client, agreed):
    before = set(_wrapped(client))
    assert agreed.consent({"personalize": True}).cause == ""
    left = set(_wrapped(client))
    assert len(left) == 2
    assert left < before
    assert not any(key in data for data in shop.files().values() for key in before - left)


def test_a_ciphertext_moved_to_another_visitor_does_not_open(client, agreed, ask):
    other = client.visitor("customer-43")
    other.consent(client.example_choices)
    engine = client._engine
    mine, theirs = (
        engine.custody.standing(visitor._handle, client.policy, engine.clock()) for visitor in (agreed, other)
    )
    with sqlite3.connect(engine.custody.store._path) as thief:
        rows = "select value, slot from records where name = ?"
        names = [int.from_bytes(standing.row, "big", signed=True) for standing in (mine, theirs)]
        value, slot = thief.execute(rows, (names[0],)).fetchall()[0]
        thief.execute("update records set value = ?, slot = ? where name = ?", (value, slot, names[1]))
    thief.close()
    engine._open.clear()
    assert ask(other).cause == "unreadable"
    assert ask(agreed).reason == "TARGETING_MATCH"
    assert other.erase().accepted


def test_a_backup_opens_nothing_once_its_generation_is_destroyed(shop, client, agreed, tmp_path):
    agreed.observe_all([{"name": "view_item", "category": "boots"}] * 3)
    gone, stayed = client.visitor("customer-7"), client.visitor("customer-8")
    for visitor in (gone, stayed):
        assert visitor.consent(client.example_choices).accepted
        assert visitor.observe("view_item", category="boots").accepted
    backup = tmp_path / "backup"
    backup.mkdir()
    for path in (shop.home / "state").glob("visitors.db*"):
        (backup / path.name).write_bytes(path.read_bytes())
    assert gone.erase().cause == ""
    assert opened(client, backup) == {"customer-42", "customer-7", "customer-8"}
    shop.clock.now += DAY
    client.sweep()
    assert opened(client, backup) == set()
    assert gone.export().data == {}
    assert all(visitor.export().data["purposes"] for visitor in (agreed, stayed))


def opened(client, backup) -> set[str]:
    """Return who can still be read from copies of the store's files with every key of today."""
    engine, found = client._engine, set()
    store = SQLiteStore(backup / "visitors.db")
    held = Custody(
        store, engine.custody.keyring, engine.custody.counters, tenant=client.policy.tenant, epoch=client.policy.epoch
    )
    for name in ("customer-42", "customer-7", "customer-8"):
        handle = client.visitor(name)._handle
        with suppress(Unauthentic):
            standing = held.standing(handle, client.policy, engine.clock(), move=False)
            if standing and held.drawers(handle, standing, ["personalize"], engine.clock()):
                found.add(name)
    store.close()
    return found


def test_a_process_that_idles_lets_go_of_a_destroyed_key(shop, client, agreed):
    other = shop.open()
    other.visitor("customer-42").export()
    assert other._keyring._keys["generations"].keys() == {1}
    client.rotate()
    other.flush()
    assert other._keyring._keys["generations"].keys() == {2}
    assert other.visitor("customer-42").export().data["purposes"]
