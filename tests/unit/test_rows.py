"""From files to labelled rows: flat tables, who granted `improve`, groups, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entrenous_consent.errors import Malformed, Missing
from entrenous_exporters.readers import read_attributes, read_events, read_moments
from entrenous_exporters.rows import labelled_rows, table_rows
from entrenous_exporters.spec import TrainingSpec, parse_spec
from entrenous_exporters.tables import open_backend
from entrenous_exporters.workshop import train_files

HEAD = """
format = 1
name = "sessions"
version = 1
lifetime_days = 30
label = { column = "bought" }
split = { kind = "grouped", folds = 2 }
learner = { kind = "logistic" }
[data]
table = "sessions.csv"
"""
TAIL = """
[decision]
name = "promotion"
purpose = "personalize"
patterns = [["personalize"]]
tranches = ["low", "high"]
shares = [0.5, 0.5]
default_arm = "none"
choice = { low = "none", high = "none" }
arms = { none = {} }
[[features]]
name = "pages"
kind = "context"
field = "pages"
purpose = "personalize"
category = "user.behavior"
source = "first_party"
retention_days = 0
[[features]]
name = "month"
kind = "context"
field = "month"
values = ["Oct", "Nov"]
purpose = "personalize"
category = "user.behavior"
source = "first_party"
retention_days = 0
"""
DERIVED = TAIL.replace('name = "month"', 'name = "weekday"').replace('field = "month"', 'field = "weekday"')
DERIVED = DERIVED.replace('values = ["Oct", "Nov"]\n', "")
CSV = "who,pages,month,bought,improve,note\na,3,Nov,TRUE,true,x\nb,4.5,Oct,0,,y\na,,Dec,false,true,z\n"


def spec(data: str = 'visitor = "who"', tail: str = TAIL) -> TrainingSpec:
    return parse_spec(f"{HEAD}{data}\n{tail}".encode())


def rows(tmp_path: Path, text: str = CSV, data: str = 'visitor = "who"', tail: str = TAIL):
    (tmp_path / "sessions.csv").write_text(text)
    return table_rows(open_backend(), spec(data, tail), tmp_path / "sessions.csv")


def test_a_table_becomes_rows_in_its_order(tmp_path):
    found = rows(tmp_path)
    np.testing.assert_array_equal(found.x, np.array([[3, 1], [4.5, 0], [np.nan, np.nan]], np.float32))
    assert found.y.tolist() == [True, False, False]
    assert found.visitors.tolist() == [0, 1, 0]
    assert found.improve.tolist() == [True, False, True], "absent is not granted"
    assert found.known.all()
    assert found.unread == ("note",)


def test_without_a_visitor_column_each_row_is_a_visitor(tmp_path):
    assert len(set(rows(tmp_path, data="").visitors.tolist())) == 3


def test_parquet_reads_the_same_as_csv(tmp_path):
    table = pa.table(
        {
            "who": ["a", "b", "a"],
            "pages": [3.0, 4.5, None],
            "month": ["Nov", "Oct", "Dec"],
            "bought": [1, 0, 0],
            "improve": [True, None, True],
        }
    )
    pq.write_table(table, tmp_path / "sessions.parquet")
    found = table_rows(open_backend(), spec(), tmp_path / "sessions.parquet")
    other = rows(tmp_path)
    np.testing.assert_array_equal(found.x, other.x)
    for name in ("y", "visitors", "improve"):
        assert getattr(found, name).tolist() == getattr(other, name).tolist()


def test_a_consent_file_says_who_granted_improve_and_a_refusal_beats_a_grant(tmp_path):
    (tmp_path / "consent.csv").write_text("visitor,improve\na,true\nb,true\nb,false\nzoe,true\n")
    found = rows(tmp_path, data='visitor = "who"\nimprove = "consent.csv"')
    assert found.improve.tolist() == [True, False, True]


def test_an_empty_consent_file_grants_nothing(tmp_path):
    (tmp_path / "consent.csv").write_text("visitor,improve\n")
    assert not rows(tmp_path, data='visitor = "who"\nimprove = "consent.csv"').improve.any()


def test_another_column_may_hold_improve(tmp_path):
    text = CSV.replace("improve", "learn_from_me")
    assert rows(tmp_path, text, data='visitor = "who"\nimprove = "learn_from_me"').improve.tolist() == [
        True,
        False,
        True,
    ]


def test_groups_are_read_and_never_enter_x(tmp_path):
    found = rows(tmp_path, data='visitor = "who"\ngroups = ["note"]')
    assert found.groups["note"].tolist() == ["x", "y", "z"]
    assert found.x.shape == (3, 2)
    assert found.unread == ()


def test_what_the_clock_says_needs_a_time(tmp_path):
    with pytest.raises(Malformed, match=r"data\.time: is missing, and weekday is derived from it — name the column"):
        spec(tail=DERIVED)
    text = "who,at,pages,bought,improve\na,1788000000,1,1,true\n"
    found = rows(tmp_path, text, data='visitor = "who"\ntime = "at"', tail=DERIVED)
    assert found.x.tolist() == [[1.0, 5.0]], "2026-08-29, a Saturday"
    assert found.times.tolist() == [1_788_000_000]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "pages",
            "sheets",
            r"column pages: is missing \(for field_pages\) — add it, .* the file has: who, sheets, month",
        ),
        ("bought", "sold", r"column bought: is missing \(for label\)"),
        ("improve", "learn", r"column improve: is missing \(for improve\)"),
        ("TRUE", "yes", r"column bought: is neither true nor false, nor 1 or 0 in 1 row \(1\)"),
        ("Oct,0", "Oct,", r"column bought: is empty in 1 row \(2\)"),
        ("4.5", "many", r"column pages: is not a number in 1 row \(2\)"),
        ("Nov,TRUE,true", "Nov,TRUE,1", r"column improve: is neither true nor false in 1 row \(1\)"),
        ("\nb,", "\n,", r"column who: is empty in 1 row \(2\)"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(tmp_path, old, new, says):
    assert old in CSV
    with pytest.raises(Malformed, match=f"sessions.csv: {says}"):
        rows(tmp_path, CSV.replace(old, new, 1))


def test_raw_times_as_a_feature_are_refused_with_figures(tmp_path):
    lines = [f"v{i},{1_788_000_001 + 2 * i},Oct,{i % 2},true" for i in range(1_234)]
    text = "\n".join(["who,pages,month,bought,improve", *lines]) + "\n"
    with pytest.raises(
        Malformed, match=r"pages: holds whole numbers that float32 changes, in 1,2\d\d of 1,234 rows — count days"
    ):
        rows(tmp_path, text)


def test_a_few_great_sums_are_not_raw_times(tmp_path):
    lines = [f"v{i},{16_777_217 if i == 7 else i},Oct,{i % 2},true" for i in range(1_000)]
    assert rows(tmp_path, "\n".join(["who,pages,month,bought,improve", *lines]) + "\n").x[7, 0] == 16_777_216


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ('columns = { size = "S" }', r"data\.columns\.size: is no feature's field"),
        ('groups = ["month"]', r"data\.groups: names month, a field of the model — copy it into a column of its own"),
        ('events = "e.csv"', r"data\.events: is not a known key"),
    ],
)
def test_a_bad_source_is_refused_at_parse(data, says):
    with pytest.raises(Malformed, match=says):
        spec(data)


def test_a_table_has_no_events_to_count(tmp_path):
    counted = TAIL.replace('kind = "context"\nfield = "pages"', 'kind = "count"\nevent = "view_item"\nwindow = 1', 1)
    counted = counted.replace("retention_days = 0", "retention_days = 9", 1)
    with pytest.raises(
        Malformed, match=r"data\.table: has no events for pages — declare it as context, or give events"
    ):
        spec(tail=counted)


def test_a_group_that_is_not_there(tmp_path):
    with pytest.raises(Malformed, match=r"column colour: is missing \(for group_colour\)"):
        rows(tmp_path, data='visitor = "who"\ngroups = ["colour"]')


def test_a_missing_table(tmp_path):
    with pytest.raises(Missing, match=r"sessions\.csv: is not there"):
        table_rows(open_backend(), spec(), tmp_path / "sessions.csv")


def test_from_a_table_on_disk_to_a_bundle_and_three_cards(tmp_path):
    draw = np.random.default_rng(3)
    pages = draw.poisson(4, 2_000)
    bought = draw.random(2_000) < 1 / (1 + np.exp(3 - 0.5 * pages))
    months = draw.choice(["Oct", "Nov"], 2_000)
    lines = [
        f"v{i // 2},{page},{month},{int(yes)},{'true' if i % 10 else ''},{'ab'[i % 2]}"
        for i, (page, month, yes) in enumerate(zip(pages, months, bought, strict=True))
    ]
    (tmp_path / "sessions.csv").write_text("\n".join(["who,pages,month,bought,improve,note", *lines]) + "\n")
    (tmp_path / "spec.toml").write_text(HEAD + 'visitor = "who"\ngroups = ["note"]\n' + TAIL)
    policy = Path(__file__).parents[2] / "sdk" / "entrenous" / "demo" / "policy.toml"
    text = policy.read_text() + "".join(
        f'\n[[features]]\nname = "{name}"\npurpose = "personalize"\ncategory = "user.behavior"\n'
        'source = "first_party"\nretention_days = 0\n'
        for name in ("pages", "month")
    )
    (tmp_path / "policy.toml").write_text(text)
    said: list[str] = []
    made = train_files(
        tmp_path / "spec.toml", tmp_path / "policy.toml", tmp_path / "b.msgpack", created=1, progress=said.append
    )
    assert made.data == (tmp_path / "b.msgpack").read_bytes()
    assert any(line.startswith("training personalize on 1,800 rows") for line in said)
    assert made.card == (tmp_path / "b.card.json").read_bytes()
    read = (tmp_path / "b.card.txt").read_text()
    assert "200 never" in read
    page = (tmp_path / "b.card.html").read_text()
    assert "<main lang=fr>" in page
    assert "http" not in page.lower().replace("http-equiv", "")


def test_of_rows_that_disagree_about_a_visitor_the_refusal_holds(tmp_path):
    """Whoever withdrew since an earlier visit is left out with every visit."""
    text = "who,pages,month,bought,improve\na,1,Nov,1,true\nb,2,Nov,0,true\na,3,Dec,0,false\nb,4,Dec,0,\n"
    assert rows(tmp_path, text).improve.tolist() == [False, True, False, False]


LOG = """visitor,time,name,value,id
a,1788000000,view_item,,e1
a,1788086400,purchase,4000,e2
a,1788172800,purchase,7000,e3
a,1788172900,purchase,7000,e3
b,1788000000,view_item,,
c,1799000000,view_item,,
"""
MOMENTS = "visitor,time,pages,month\na,1788000001,,\nb,1788000001,,\n"
TOLD = """visitor,time,attribute,says,holds
a,1788000000,told:size,m,
a,1788000002,told:size,s,
b,1,imported:spent,12.5,
"""
SAID = """
[[features]]
name = "size"
kind = "told"
field = "size"
values = ["s", "m"]
window = 400
purpose = "personalize"
category = "user.content"
source = "first_party"
retention_days = 400
"""


def log_rows(tmp_path: Path, label: str, *, tail: str = TAIL, attributes: str = ""):
    for name, text in (("log.csv", LOG), ("moments.csv", MOMENTS)):
        (tmp_path / name).write_text(text)
    head = HEAD.replace('label = { column = "bought" }', label).replace('table = "sessions.csv"', 'events = "log.csv"')
    asked = parse_spec(f"{head}{attributes}\n{tail}".encode())
    backend = open_backend()
    events = read_events(backend, tmp_path / "log.csv")
    moments = read_moments(backend, tmp_path / "moments.csv", asked.features)
    said = read_attributes(backend, tmp_path / "told.csv") if attributes else None
    return labelled_rows(backend, asked, events, moments, attributes=said)


@pytest.mark.parametrize(
    ("label", "answers"),
    [
        ('label = { event = "purchase", within_days = 1 }', [True, False]),
        ('label = { event = "any", within_days = 30, absent = true }', [False, True]),
        ('label = { event = "purchase", field = "value", at_least = 11000, within_days = 30 }', [True, False]),
        # The third purchase has the id of the second, and counts once.
        ('label = { event = "purchase", field = "value", at_least = 11001, within_days = 30 }', [False, False]),
        ('label = { event = "purchase", field = "value", at_least = 4001, within_days = 1 }', [False, False]),
    ],
)
def test_a_label_asks_what_follows_what_does_not_and_what_it_was_worth(tmp_path, label, answers):
    assert log_rows(tmp_path, label).y.tolist() == answers


def test_what_was_told_after_the_moment_is_not_known_at_it(tmp_path):
    (tmp_path / "told.csv").write_text(TOLD.replace("b,1,", "b,1788000000,"))

    found = log_rows(
        tmp_path,
        'label = { event = "purchase", within_days = 1 }',
        tail=TAIL + SAID,
        attributes='attributes = "told.csv"',
    )

    np.testing.assert_array_equal(found.x[:, 2], [1, np.nan])


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("a,1788000000,size,m,", "attribute"),
        ("a,1788000000,told:Size,m,", "attribute"),
        ("a,1788000000,told:size,,", "says"),
        ("a,1788000000,told:size," + "m" * 129 + ",", "says"),
        ("a,5,told:size,m,", "time"),
        (",1788000000,told:size,m,", "visitor"),
        ("a,1788000000,told:size,m,maybe", "holds"),
    ],
)
def test_what_nobody_can_have_told_is_refused_with_its_row(tmp_path, line, column):
    (tmp_path / "told.csv").write_text(f"visitor,time,attribute,says,holds\na,1788000000,told:size,m,true\n{line}\n")

    with pytest.raises(Malformed) as caught:
        read_attributes(open_backend(), tmp_path / "told.csv")

    assert column in caught.value.place
    assert "2" in f"{caught.value.place} {caught.value.what}"


@pytest.mark.parametrize(
    ("label", "tail", "place"),
    [
        ('label = { event = "purchase", within_days = 1, absent = true, field = "value", at_least = 1 }', "", "absent"),
        ('label = { event = "purchase", within_days = 1, field = "value" }', "", "at_least"),
        ('label = { event = "purchase", within_days = 1, at_least = 1 }', "", "at_least"),
        ('label = { event = "buy", within_days = 1 }', "", "event"),
        ('label = { event = "purchase", within_days = 1 }', SAID, "attributes"),
    ],
)
def test_a_question_that_can_not_be_asked_is_refused(tmp_path, label, tail, place):
    with pytest.raises(Malformed) as caught:
        log_rows(tmp_path, label, tail=TAIL + tail)

    assert place in caught.value.place
