"""Promise 6, the visitor's path never fails: whatever breaks under it, it answers the default with a reason."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from entrenous import Client
from entrenous_consent.errors import Malformed, Unavailable


def _answers_defaults(visitor) -> str:
    """Ask everything a page asks; nothing may raise. Return the decision's cause."""
    decision = visitor.decide("promotion", default="fallback")
    assert decision.value == "fallback"
    assert decision.reason == "ERROR"
    assert not visitor.observe("view_item").accepted
    assert not visitor.export().accepted
    return decision.cause


def test_a_damaged_store(shop, client, agreed):
    path = shop.home / "state" / "visitors.db"
    client.close()
    shop.clients.clear()
    data = bytearray(path.read_bytes())
    fresh = shop.open()
    path.write_bytes(bytes(100) + bytes(byte ^ 0x5A for byte in data[100:]))
    for reader in fresh._engine.custody.store._idle:
        reader.execute("pragma shrink_memory")  # what opening has read would still be answered from there
    assert _answers_defaults(fresh.visitor("customer-42")) in ("unreadable", "unavailable")


def test_records_that_do_not_open(client, agreed):
    with sqlite3.connect(client._engine.custody.store._path) as other:
        other.execute("update records set value = randomblob(length(value))")
    other.close()
    client._engine._open.clear()
    assert _answers_defaults(agreed) == "unreadable"


def test_keys_that_were_shredded_under_it(client, agreed):
    with sqlite3.connect(client._engine.custody.store._path) as other:
        other.execute("update slots set wrapped = zeroblob(64)")
    other.close()
    client._engine._open.clear()
    assert _answers_defaults(agreed) == "unreadable"


def test_another_process_that_holds_the_store(client, agreed, ask, monkeypatch):
    """A decision never waits for a writer; an event says that it could not be taken in, and is taken in afterwards."""
    monkeypatch.setattr("entrenous_consent.sqlite._WRITE_WAIT", 0.01)
    client._engine.custody.store._writer.execute("pragma busy_timeout=10").fetchall()
    other = sqlite3.connect(client._engine.custody.store._path, isolation_level=None)
    other.execute("begin exclusive")
    client._engine._open.clear()
    assert ask(agreed).reason == "TARGETING_MATCH"
    assert agreed.observe("view_item").cause == "unavailable"
    other.execute("rollback")
    other.close()
    assert agreed.observe("view_item").accepted


def test_a_reader_waits_five_milliseconds_at_most(client):
    assert client._engine.custody.store._idle[0].execute("pragma busy_timeout").fetchall() == [(5,)]


@pytest.mark.parametrize("broken", ["standing", "drawers"])
def test_a_fault_of_ours(client, agreed, monkeypatch, broken):
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(client._engine.custody, broken, explode)
    client._engine._open.clear()
    assert agreed.decide("promotion", "fallback")[:3] == ("fallback", "ERROR", "fault")


def test_a_model_that_fails(client, agreed, monkeypatch):
    def explode(*_: object) -> None:
        raise RuntimeError("the session is gone")

    for scorer in client._engine.active.scorers.values():
        monkeypatch.setattr(scorer, "margin", explode)
    assert agreed.decide("promotion", "fallback")[:3] == ("fallback", "ERROR", "fault")


def test_a_clock_that_runs_backwards(shop, client, agreed, ask):
    agreed.observe("view_item")
    shop.clock.now -= 10 * 86_400
    assert ask(agreed).reason in ("TARGETING_MATCH", "DEFAULT")
    shop.clock.now += 10 * 86_400
    assert ask(agreed).reason == "TARGETING_MATCH"


def test_a_full_store_refuses_the_event_and_loses_nothing(shop):
    client = shop.open(most_store_bytes=96 << 10)
    taken, outcome = 0, None
    for number in range(2000):
        visitor = client.visitor(f"customer-{number}")
        outcome = visitor.consent(client.example_choices)
        if not outcome.accepted:
            break
        taken += 1
    assert outcome is not None
    assert outcome.cause == "unavailable"
    assert "the disk is full" in outcome.message
    assert taken > 10
    kept = [client.visitor(f"customer-{number}").decide("promotion", "x").cause for number in range(taken)]
    assert "consent_missing" not in kept


def _breaking() -> Iterator[dict[str, str]]:
    yield {"name": "view_item"}
    raise OSError("the caller's own file is gone")


@pytest.mark.parametrize(
    ("events", "cause"),
    [(None, "malformed"), (7, "malformed"), ({"name": "view_item"}, "malformed"), (_breaking(), "fault")],
)
def test_events_that_are_no_events(agreed, events, cause):
    (outcome,) = agreed.observe_all(events)
    assert (outcome.accepted, outcome.cause) == (False, cause)
    assert agreed.observe_all([None, "view_item", {"name": "view_item"}])[-1].accepted
    assert agreed.export().data["purposes"]["personalize"]["features"]["visit_views_7d"] == 1


def test_a_clock_that_fails(client, agreed, monkeypatch):
    def stopped() -> int:
        raise OSError("no time source")

    monkeypatch.setattr(client._engine, "clock", stopped)
    assert _answers_defaults(agreed) == "fault"
    assert not agreed.consent({}).accepted


@pytest.mark.parametrize("directory", ["state", "keys"])
def test_opening_where_no_directory_can_be_made_is_told_as_ours(shop, directory):
    (shop.home / "occupied").write_bytes(b"")
    for path in (shop.home / "occupied", shop.home / "occupied" / "below"):
        with pytest.raises(Unavailable, match=r"occupied.*cannot be made"):
            shop.open(**{directory: path})


def test_keys_within_the_store_are_refused(shop):
    with pytest.raises(Malformed, match="keep keys apart"):
        shop.open(keys=shop.home / "state" / "keys")


def test_a_model_that_the_runtime_refuses_is_told_as_ours(shop, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    with pytest.raises(Malformed, match="refused by onnxruntime"):
        shop.open()


def test_what_was_opened_before_a_failure_is_closed(shop, monkeypatch):
    closed: list[object] = []
    monkeypatch.setattr("entrenous.client.SQLiteStore.close", lambda store: closed.append(store))
    shop.open()
    (shop.home / "state" / "counters").write_bytes(b"something else")
    with pytest.raises(Malformed, match="is not a counter file"):
        shop.open()
    assert len(closed) == 1
    monkeypatch.undo()
    closed[0].close()


_ENDS = """
import os
from entrenous import Client
client = Client.demo()
home = client._engine.custody.store._path.parent.parent
visitor = client.visitor("customer-42")
visitor.consent(client.example_choices)
visitor.decide("promotion", default="none")
{then}
print(home)
"""


def _ends(then: str) -> tuple[str, str]:
    """Run a program that never closes its client; return the demonstration's home and what it said."""
    run = subprocess.run([sys.executable, "-c", _ENDS.format(then=then)], capture_output=True, text=True, check=True)
    return run.stdout.split()[-1], run.stderr


def test_a_program_that_ends_without_closing_says_nothing_and_leaves_nothing():
    home, said = _ends("")
    assert not os.path.exists(home)
    assert said == ""


def test_a_child_that_ends_takes_nothing_from_its_parent():
    # _run_exitfuncs, _exit: the ends of a program, without onnxruntime's own, which hangs in a forked child.
    child = "if not os.fork(): import atexit; client.close(); atexit._run_exitfuncs(); os._exit(0)\nos.wait()\n"
    home, said = _ends(child + "assert visitor.export().data['purposes']['personalize']['receipts']")
    assert not os.path.exists(home)
    assert said == ""


def test_what_waits_when_a_program_ends_is_brought_to_the_store(shop, agreed):
    program = """
import sys
from pathlib import Path
from entrenous_consent.keys import MemoryKeyProvider
from tests.shop import Clock, Shop
shop = Shop(Path(sys.argv[1]), Clock(), MemoryKeyProvider(bytes.fromhex(sys.argv[2])))
shop.open(flush_seconds=3600).visitor("customer-42").decide("promotion", "none")
"""
    subprocess.run([sys.executable, "-c", program, str(shop.home), shop.provider.root().hex()], check=True)
    assert len(agreed.export().data["purposes"]["personalize"]["receipts"]) == 1


def test_two_demonstrations_at_once_share_nothing(ask):
    with Client.demo() as one, Client.demo() as other:
        homes = [client._engine.custody.store._path.parent.parent for client in (one, other)]
        folders = [folder for home in homes for folder in (home, home / "state", home / "keys")]
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
        one.visitor("customer-42").consent(one.example_choices)
        assert ask(other.visitor("customer-42")).cause == "consent_missing"
        one.close()
        assert [home.exists() for home in homes] == [False, True]
        assert other.visitor("customer-42").consent(other.example_choices).accepted
