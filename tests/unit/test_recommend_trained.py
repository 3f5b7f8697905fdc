"""From a specification, visits and a catalogue to a bundle that recommends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.decisions import agreeing
from tests.recommending import SPEC, write_files
from tests.shop import NOON

from entrenous.cli import main
from entrenous.recommending.catalogue import parse_catalogue
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_exporters.card import read_card, render_page, render_text
from entrenous_exporters.spec import read_either, read_spec
from entrenous_exporters.train import Trained
from entrenous_exporters.workshop import train_files


def trained(shop, folder: Path, **changes: str) -> Trained:
    spec = write_files(folder, **changes)
    return train_files(spec, shop.policy, folder / "trained.msgpack", created=NOON, progress=lambda _: None)


def test_a_trained_bundle_recommends_to_a_visitor(shop, tmp_path):
    made = trained(shop, tmp_path)
    shop.bundle.write_bytes(made.data)
    visitor = agreeing(shop.open())

    told = visitor.recommend("home_list", items=["clogs"], count=2)
    assert set(told.items) <= {"felt", "mules", "clogs"}
    assert told.decision.arm == "smart"
    for _ in range(2):
        visitor.observe("view_item", category="sandals")
    assert visitor.recommend("home_list", count=1, bought=["bench"]).items == ("hose",)
    whole = visitor.recommend("home_list", items=["clogs"], count=9).items
    assert whole.index("felt") > whole.index("mules"), "what is red comes last for who looks at sandals"


def test_the_card_says_what_was_learnt_and_how_well_it_foretells(shop, tmp_path):
    facts = read_card(trained(shop, tmp_path).card)

    assert facts["data"]["rows"] == {"given": 280, "without_improve": 21, "unknown_items": 0, "learnt": 259}
    assert facts["data"]["visitors"] == 54
    assert facts["following"]["k"] == 5
    assert facts["recommend"]["items"] == 9
    assert facts["recommend"]["quality"]["cases"] > 5
    for language in ("en", "fr"):
        assert "HR@20" in render_text(facts, language=language)
    assert "<h2>Nobody inside</h2>" in render_page(facts)
    assert json.loads((tmp_path / "trained.card.json").read_text()) == facts


def test_the_same_files_give_the_same_bytes(shop, tmp_path):
    assert trained(shop, tmp_path).data == trained(shop, tmp_path).data


def test_visits_without_a_session_end_after_half_an_hour(shop, tmp_path):
    rows = [
        f"v{visitor},{1_790_000_000 + step * 4_000},{item},true"
        for visitor in range(40)
        for step, item in enumerate(("atlas", "novel"))
    ]
    spec = SPEC.replace('region = "region"\n', "")
    close = [row.replace("1790004000", "1790000010") for row in rows]
    apart = train_or_refuse(shop, tmp_path, spec, rows)

    assert "cases to judge by" in str(apart)
    assert train_or_refuse(shop, tmp_path, spec, close) is None


def train_or_refuse(shop, folder: Path, spec: str, rows: list[str]) -> Malformed | None:
    try:
        trained(shop, folder, spec=spec, looks="\n".join(["visitor,time,item,improve", *rows]))
    except Malformed as error:
        return error
    return None


HOUR = """[[features]]
name = "hour"
kind = "context"
field = "hour"
purpose = "personalize"
category = "user.behavior"
source = "first_party"
retention_days = 0
"""


def test_a_bundle_that_keeps_nothing_of_a_visitor_recommends_by_the_visit_alone(shop, tmp_path):
    head, _, rest = SPEC.partition("[[features]]")
    decision = "[decision]" + rest.partition("[decision]")[2].partition("[decision.tastes]")[0]
    shop.bundle.write_bytes(trained(shop, tmp_path, spec=head + HOUR + decision).data)

    assert agreeing(shop.open()).recommend("home_list", items=["clogs"], count=1).items


def test_train_is_a_command(shop, tmp_path, capsys):
    spec = write_files(tmp_path)

    assert main(["train", str(spec), "--policy", str(shop.policy), "--out", str(tmp_path / "b.msgpack")]) == 0
    assert "names the next item of a visit" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"items": "item,category,colour,margin\natlas,a,b,1\natlas,a,b,1\natlas,a,b,2"}, r"in 2 rows \(2, 3\)"),
        ({"items": "item,category,colour,margin\n,a,b,1"}, r"is empty or longer than 64 bytes in 1 row \(1\)"),
        ({"items": f"item,category,colour,margin\n{'x' * 65},a,b,1"}, "longer than 64 bytes"),
        ({"items": "item,category,margin\natlas,a,1"}, "column colour: is missing"),
        ({"items": "item,category,colour,margin\natlas,a,b,101"}, "not 0 to 100 per cent for 1 items"),
        ({"items": "item,category,colour,margin\natlas,a,b,1"}, r"does not have in \d+ of 259 rows"),
        ({"looks": "visitor,time,item,improve\nv,1790000000,atlas,true"}, "column region: is missing"),
        ({"looks": "visitor,time,item,region,improve\nv,1790000000,atlas,,false"}, "leaves none of 1 rows"),
        ({"looks": "visitor,time,item,region,improve\nv,1790000000,atlas,,true"}, "0 cases to judge by"),
        ({"spec": SPEC.replace('"colour"]', '"size"]')}, "lacks an attribute that the decision names: colour"),
        ({"spec": SPEC.replace('kind = "recommend"', 'kind = "rule"')}, "not a known key"),
        ({"spec": SPEC.replace("[decision.strategies.smart]", "[decision.strategies.other]")}, "one for each arm"),
        ({"spec": SPEC.replace('"sandals"\'', '"shoes"\'')}, "no listed value of that category"),
        ({"spec": SPEC.replace('visitor = "visitor"\n', "")}, "session"),
        ({"spec": SPEC.replace('visitor = "visitor"\n', 'session = "visitor"\n')}, "nobody can be asked"),
        ({"spec": SPEC.replace("k = 5", "k = 0")}, "outside"),
        ({"spec": SPEC + "\n[more]\n"}, "more"),
    ],
)
def test_what_should_not_be_learnt_from_is_refused_with_figures(shop, tmp_path, changes, what):
    with pytest.raises(Malformed, match=what):
        trained(shop, tmp_path, **changes)
    assert not (tmp_path / "trained.msgpack").exists()


def test_a_purpose_that_the_policy_does_not_have_is_refused_before_the_work(shop, tmp_path):
    with pytest.raises(Forbidden, match="home_list"):
        trained(shop, tmp_path, spec=SPEC.replace('purpose = "personalize"\ndefault', 'purpose = "gossip"\ndefault'))


def test_a_specification_of_lists_is_none_of_a_model(tmp_path):
    spec = write_files(tmp_path)

    assert read_either(spec).following.k == 5
    with pytest.raises(Malformed):
        read_spec(spec)


def test_whole_numbers_are_ids_too(shop, tmp_path):
    def numbered(text: str, names: list[str]) -> str:
        for number, name in enumerate(names):
            text = text.replace(f"{name},", f"{900 + number},")
        return text

    write_files(tmp_path)
    names = ["secret", "atlas", "bench", "clogs", "diary", "felt", "hose", "mules", "novel"]
    looks, items = (numbered((tmp_path / f"{one}.csv").read_text(), names) for one in ("looks", "items"))
    spec = SPEC.replace("[data]\n", "[data]\nintegers = true\n")
    made = trained(shop, tmp_path, spec=spec, looks=looks, items=items)

    assert parse_catalogue(made.bundle.tables["catalogue"]).item(0) == 900
    shop.bundle.write_bytes(made.data)
    assert agreeing(shop.open()).recommend("home_list", items=[903], count=1).items[0] in range(900, 909)
