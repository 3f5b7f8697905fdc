"""docs/formats.md keeps up with what leaves, with the worker's configuration and with the collector's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from tests.shop import Clock, Shop
from tests.unit.test_docs_formats import SECTIONS, rows
from tests.unit.test_reports import made
from tests.worker import configure

from entrenous.contributions import Contribution, pack_contributions
from entrenous.ledger import Ledger
from entrenous.reports import REPORT_LIMIT, encode_report
from entrenous.sending import CONTENT_TYPE, SIGNATURE, signed_content
from entrenous_consent.parsing import Table
from entrenous_edge.config import read_config
from entrenous_evaluation.answer import parse_costs
from entrenous_evaluation.collector import read_collector_config


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every key that a parser asks a table for."""
    keys: set[str] = set()

    def recording(getter: Callable[..., Any]) -> Callable[..., Any]:
        def get(self: Table, key: str, *arguments: Any, **more: Any) -> Any:
            keys.add(key)
            return getter(self, key, *arguments, **more)

        return get

    for name in ("text", "name", "choice", "integer", "number", "texts", "table", "tables", "named_tables", "has"):
        monkeypatch.setattr(Table, name, recording(getattr(Table, name)))
    return keys


def test_every_key_of_a_report_is_described():
    section = SECTIONS["Report"]
    table = msgpack.unpackb(encode_report(made()))
    assert rows(section).keys() == table.keys()
    assert all(f"`{key}`" in section for key in table["mechanism"])
    assert f"{REPORT_LIMIT:,} bytes" in section
    assert CONTENT_TYPE in section
    assert SIGNATURE in section
    assert signed_content(b"") == b"entrenous report 1\0"


def test_every_position_of_a_contribution_and_of_the_ledger_is_described():
    held = {"a": Contribution(decision="d", cell=("x", "y", "z"), consent_version=1, since=1, until=2)}
    ((*entry,),) = msgpack.unpackb(pack_contributions(held))
    described = re.findall(r"^\| ([\d, ]+) \|", SECTIONS["Pending row and contribution"], re.MULTILINE)
    assert [int(one) for row in described for one in row.split(",")] == list(range(len(entry)))
    (account,) = msgpack.unpackb(Ledger().opened("r", "e", 1).pack())
    named = re.search(r"`\[([a-z, ]+)\]`", SECTIONS["Ledger"])
    assert named is not None
    assert len(named[1].split(", ")) == len(account)


def test_every_key_of_the_workers_configuration_is_described(tmp_path: Path, asked: set[str]):
    path = configure(Shop(tmp_path, Clock()))
    asked.clear()
    read_config(path)
    assert asked == rows(SECTIONS["Worker configuration"]).keys()


def test_every_key_of_the_collectors_configuration_and_of_costs_is_described(tmp_path: Path, asked: set[str]):
    path = tmp_path / "collect.toml"
    key = 'public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="'
    head = 'format = 1\nlisten = "127.0.0.1:0"\ndatabase = "r.duckdb"\n'
    path.write_text(f'{head}[[senders]]\nname = "a"\ntenant = "b"\n{key}\n')
    read_collector_config(path)
    assert {word for word in asked if f"`{word}`" not in SECTIONS["Collector configuration"]} == {"senders"}
    asked.clear()
    parse_costs({"arms": {"ten_off": {"per_order": 1.0}}})
    assert {word for word in asked if f"`{word}`" not in SECTIONS["Costs"]} == {"arms", "ten_off"}, (
        "an arm is the author's own name"
    )
