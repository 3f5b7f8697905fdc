"""`entrenous lifetime fit`: from an event log to a line of a declaration; who is left out, and what is refused."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from entrenous.cli import main
from entrenous.features.lifetime import SCALES, SHAPES, Lifetime, parse_lifetime
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table
from entrenous_exporters.lifetime import read_orders
from entrenous_exporters.lifetime.models import LEAST_BUYERS, LEAST_REPEATING
from entrenous_exporters.lifetime.telling import CORRELATED
from entrenous_exporters.readers import read_consent, read_events
from entrenous_exporters.tables import open_backend

DAY = 86_400
FIRST = 20_000
"""2024-10-04, days since 1970."""
CANARY = "ada.lovelace@example.org"

Row = tuple[str, int, str, object]


def shop(buyers: int = 900, days: int = 400, seed: int = 21) -> Iterator[Row]:
    """Yield purchases drawn from both models: r 1, alpha 60 days, a .8, b 3; p 5, q 4, gamma 2000."""
    chance = np.random.default_rng(seed)
    for buyer in range(buyers):
        rate, leave, scale = chance.gamma(1.0, 1 / 60.0), chance.beta(0.8, 3.0), chance.gamma(4.0, 1 / 2000.0)
        now = int(chance.integers(0, days - 60))
        while now < days:
            time = (FIRST + now) * DAY + int(chance.integers(0, DAY))
            yield f"{CANARY}-{buyer}", time, "purchase", round(chance.gamma(5.0) / scale)
            if chance.random() < leave:
                break
            now += 1 + int(chance.exponential(1 / rate))
    for looker in range(40):
        yield f"looker-{looker}", (FIRST + days - 1) * DAY, "view_item", ""


def written(path: Path, header: tuple[str, ...], rows: Iterator[Row] | list) -> Path:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)
    return path


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lifetime") / "events.csv"
    return written(path, ("visitor", "time", "name", "value"), shop())


@pytest.fixture(scope="module")
def consent(events) -> Path:
    """Everybody granted `improve` but the first hundred buyers, of whom half said no and half nothing."""
    answers = [(f"{CANARY}-{buyer}", "false" if buyer < 50 else "true") for buyer in (*range(50), *range(100, 900))]
    answers += [(f"looker-{looker}", "true") for looker in range(40)]
    return written(events.with_name("consent.csv"), ("visitor", "improve"), answers)


def fit(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main(["lifetime", "fit", *map(str, arguments)])
    spoken = capsys.readouterr()
    return code, spoken.out, spoken.err


def read(path: Path) -> Lifetime:
    return parse_lifetime(Table(tomllib.loads(path.read_text())).table("lifetime"))


@pytest.fixture(scope="module")
def orders(events, consent):
    backend = open_backend(threads=1)
    return read_orders(backend, read_events(backend, events), read_consent(backend, consent))


def test_the_last_line_is_what_a_declaration_takes(events, consent, tmp_path, capsys):
    out = tmp_path / "lifetime.toml"
    code, said, _ = fit(capsys, events, "--consent", consent, "--out", out)
    assert code == 0
    model = read(out)
    assert model.unit == "day"
    assert 30.0 < model.alpha < 120.0
    assert 3.0 < model.q < 5.5
    for name, value in model.as_table().items():
        assert name == "unit" or f"{value:.6g}" in said
    assert "log-likelihood: BG/NBD" in said
    assert "correlation of how often with how much" in said
    assert "repeat purchases before" in said
    assert out.read_text().splitlines()[-1].startswith("lifetime = { r = ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lifetime.toml"]


def test_who_is_left_out_is_counted_and_nobody_is_named(events, consent, tmp_path, capsys):
    out = tmp_path / "lifetime.toml"
    code, said, told = fit(capsys, events, "--consent", consent, "--out", out)
    assert code == 0
    assert "800 buyers until 2025-11-07" in said
    assert "100 visitors have not granted `improve`" in said
    assert "40 visitors who granted it bought nothing" in said
    for text in (said, told, out.read_text()):
        assert CANARY[:12] not in text
        assert "looker" not in text


def test_who_did_not_grant_improve_moves_no_number(events, consent, tmp_path, capsys):
    known = list(shop())
    refused = {f"{CANARY}-{buyer}" for buyer in range(100)}
    other = [
        (visitor, FIRST * DAY if visitor in refused else time, name, 10**9 if visitor in refused else value)
        for visitor, time, name, value in known
    ]
    scrambled = written(tmp_path / "scrambled.csv", ("visitor", "time", "name", "value"), other)
    found = []
    for log in (events, scrambled):
        assert fit(capsys, log, "--consent", consent, "--out", tmp_path / "one.toml")[0] == 0
        found.append((tmp_path / "one.toml").read_text())
    assert found[0] == found[1]


def test_weeks_are_seven_days(events, consent, tmp_path, capsys):
    for unit in ("day", "week"):
        assert fit(capsys, events, "--consent", consent, "--unit", unit, "--out", tmp_path / f"{unit}.toml")[0] == 0
    days, weeks = read(tmp_path / "day.toml"), read(tmp_path / "week.toml")
    assert days.alpha == pytest.approx(7 * weeks.alpha, rel=1e-5)
    assert (days.p, days.q, days.gamma) == (weeks.p, weeks.q, weeks.gamma)


def test_nothing_after_the_last_day_that_counts_is_read(events, consent, tmp_path, capsys):
    before = [row for row in shop() if row[1] < (FIRST + 350) * DAY]
    cut = written(tmp_path / "cut.csv", ("visitor", "time", "name", "value"), before)
    for log in (events, cut):
        told = fit(capsys, log, "--consent", consent, "--until", "2025-09-18", "--out", tmp_path / f"{log.stem}.toml")
        assert told[0] == 0
        assert "until 2025-09-18" in told[1]
    assert (tmp_path / "events.toml").read_text() == (tmp_path / "cut.toml").read_text()


def test_one_day_counts_once_and_its_values_add_up(tmp_path):
    rows = [
        ("a", FIRST * DAY + 10, "purchase", 100),
        ("a", FIRST * DAY + 20, "purchase", 50),
        ("a", (FIRST + 7) * DAY, "purchase", ""),
        ("a", (FIRST + 9) * DAY, "view_item", ""),
        ("b", (FIRST + 1) * DAY, "purchase", 0),
    ]
    backend = open_backend(threads=1)
    path = written(tmp_path / "few.csv", ("visitor", "time", "name", "value"), rows)
    buyers = read_orders(backend, read_events(backend, path), None).buyers(FIRST + 9)
    assert buyers.repeats.tolist() == [1, 0]
    assert buyers.recency.tolist() == [7, 0]
    assert buyers.age.tolist() == [9, 8]
    assert buyers.worth_nothing == 1
    spending = buyers.spending()
    assert (spending.purchases.tolist(), spending.mean.tolist()) == ([2.0], [75.0])


def test_whoever_contradicts_themselves_has_not_granted(tmp_path):
    rows = [(name, FIRST * DAY, "purchase", 5) for name in "abc"]
    answers = [("a", "true"), ("a", "false"), ("b", ""), ("b", "true"), ("c", "true"), ("c", "true")]
    backend = open_backend(threads=1)
    log = read_events(backend, written(tmp_path / "log.csv", ("visitor", "time", "name", "value"), rows))
    choices = read_consent(backend, written(tmp_path / "consent.csv", ("visitor", "improve"), answers))
    orders = read_orders(backend, log, choices)
    assert orders.left_out == {"improve_missing": 2, "no_purchase": 0}
    assert len(orders.visitor) == 1


def test_an_earlier_day_knows_nothing_of_later_ones(orders):
    early = orders.buyers(FIRST + 100)
    known = orders.day <= FIRST + 100
    assert len(early.visitor) == len(np.unique(orders.visitor[known]))
    assert early.repeats.sum() + len(early.visitor) == known.sum()
    assert early.spent.sum() == orders.value[known].sum()
    again = orders.bought_again(early, FIRST + 100)
    assert again.sum() == np.isin(orders.visitor[~known], early.visitor).sum()


def test_of_an_empty_past_nobody_is_known(orders):
    assert len(orders.buyers(FIRST - 1).visitor) == 0


def test_a_value_that_goes_with_how_often_is_warned_of(tmp_path, capsys):
    rows, seen = [], {}
    for visitor, time, name, value in shop(600):
        seen[visitor] = seen.get(visitor, 0) + 1
        rows.append((visitor, time, name, value))
    linked = [(v, t, n, (1_000 * seen[v] + i % 7) if n == "purchase" else "") for i, (v, t, n, _) in enumerate(rows)]
    log = written(tmp_path / "linked.csv", ("visitor", "time", "name", "value"), linked)
    out = tmp_path / "lifetime.toml"
    code, said, _ = fit(capsys, log, "--public-research-data", "--out", out)
    assert code == 0
    assert "careful: how often and how much are correlated (1.00)" in said
    assert "# careful: how often and how much are correlated" in out.read_text()


def test_public_research_data_says_so(events, tmp_path, capsys):
    out = tmp_path / "lifetime.toml"
    code, said, _ = fit(capsys, events, "--public-research-data", "--out", out)
    assert code == 0
    assert "900 buyers" in said
    assert "careful: learnt from public research data" in said
    assert "# careful: learnt from public research data" in out.read_text()


def test_a_log_with_too_little_before_the_holdout_is_fitted_and_says_so(tmp_path, capsys):
    rows = [row for row in shop(400, days=61) if not FIRST + 1 <= row[1] // DAY < FIRST + 45]
    log = written(tmp_path / "late.csv", ("visitor", "time", "name", "value"), rows)
    arguments = (log, "--public-research-data", "--out", tmp_path / "lifetime.toml")
    code, said, _ = fit(capsys, *arguments)
    assert code == 0
    assert "not checked on later purchases: histories: hold nobody who bought again" in said
    assert fit(capsys, *arguments, "--holdout", "20")[0] == 2


@pytest.mark.parametrize("days", [0, -1, 4_000])
def test_a_holdout_outside_the_orders_is_refused(events, consent, tmp_path, capsys, days):
    out = tmp_path / "lifetime.toml"
    code, _, told = fit(capsys, events, "--consent", consent, "--holdout", days, "--out", out)
    assert (code, out.exists()) == (2, False)
    assert "holdout days: are not within the orders" in told


def test_too_few_buyers_leave_no_file(tmp_path, capsys):
    log = written(tmp_path / "few.csv", ("visitor", "time", "name", "value"), shop(60))
    out = tmp_path / "lifetime.toml"
    out.write_text("as it was")
    code, _, told = fit(capsys, log, "--public-research-data", "--out", out)
    assert (code, out.read_text()) == (2, "as it was")
    assert "hold 60 buyers, too few" in told


def test_a_log_without_values_is_refused(tmp_path, capsys):
    log = written(tmp_path / "bare.csv", ("visitor", "time", "name"), [row[:3] for row in shop(200)])
    code, _, told = fit(capsys, log, "--public-research-data", "--out", tmp_path / "lifetime.toml")
    assert code == 2
    assert "column value: is missing" in told


def test_a_log_of_nobody_who_granted_improve_is_refused(events, tmp_path, capsys):
    nobody = written(tmp_path / "nobody.csv", ("visitor", "improve"), [("someone", "true")])
    code, _, told = fit(capsys, events, "--consent", nobody, "--out", tmp_path / "lifetime.toml")
    assert code == 2
    assert "no purchase of a visitor who granted `improve`" in told


def test_nothing_is_fitted_without_a_word_on_improve(events, capsys):
    with pytest.raises(SystemExit):
        main(["lifetime", "fit", str(events)])
    assert "--consent --public-research-data is required" in capsys.readouterr().err


def test_a_date_that_is_none_and_a_folder_that_is_not_there_are_refused(events, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["lifetime", "fit", str(events), "--public-research-data", "--until", "yesterday"])
    assert "expected a date" in capsys.readouterr().err
    code, _, told = fit(capsys, events, "--public-research-data", "--out", tmp_path / "none" / "lifetime.toml")
    assert code == 2
    assert "is not there" in told


def test_a_purchase_before_any_day_that_counts_is_no_history(events, consent):
    backend = open_backend(threads=1)
    with pytest.raises(Malformed, match="no purchase"):
        read_orders(backend, read_events(backend, events), read_consent(backend, consent), until=FIRST - 1)


GUIDE = (Path(__file__).parents[2] / "docs" / "lifetime.md").read_text("utf-8")


def test_the_guides_example_holds():
    (snippet,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(snippet, "lifetime.md", "exec"), {})


def test_the_guides_line_is_read_and_its_bounds_are_those_of_the_code():
    (line,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert parse_lifetime(Table(tomllib.loads(line)).table("lifetime")).unit == "week"
    assert (SHAPES, SCALES) == ((1e-6, 1e6), (1e-6, 1e12))
    assert "within 10⁻⁶ and 10⁶, alpha\nand gamma within 10⁻⁶ and 10¹²" in GUIDE
    assert f"fewer than {LEAST_BUYERS} buyers, or than {LEAST_REPEATING} who bought again" in GUIDE
    assert CORRELATED == 0.3
