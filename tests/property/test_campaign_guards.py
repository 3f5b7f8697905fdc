"""Whatever a campaign says, what parses keeps its guards: margins, holdout, caps, shares, and no price in a payload."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrenous.decisions.form import Parts, parse_decision
from entrenous.targeting import variables_of
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table
from entrenous_exporters.campaigns import Campaign, decision_of, parse_campaign
from entrenous_exporters.campaigns.form import LEAST_HOLDOUT
from entrenous_exporters.spec import parse_spec

SPEC = parse_spec(files("entrenous_exporters").joinpath("demo/generated.toml").read_bytes())
PLAIN = """
format = 1
name = "a"
objective = "convert"
metric = "conversion"
purpose = "personalize"
default_arm = "none"
"""
NOTICE = 'notice = { en = "Chosen for you", fr = "Choisie pour vous" }'


@st.composite
def campaigns(draw: st.DrawFn) -> str:
    """A campaign that may break any of its guards."""
    arms = draw(st.integers(1, 4))
    lines = [
        'format = 1\nname = "random"\nobjective = "convert"\nmetric = "margin"\npurpose = "personalize"',
        'score = "promotion"\ndefault_arm = "none"',
        f'phase = "{draw(st.sampled_from(["test", "run"]))}"',
        '[money]\ncurrency = "EUR"',
        f"gross_margin = {draw(st.floats(0.05, 1)):.3f}\nminimum_margin = {draw(st.floats(0, 0.9)):.3f}",
        '[experiment]\nid = "random_1"\npurpose = "measure"',
        f"holdout = {draw(st.floats(0, 0.95)):.4f}\nramp = {draw(st.floats(0, 1)):.4f}",
        f"[cap]\ndecisions = {draw(st.integers(0, 30))}\ndays = {draw(st.integers(0, 40))}",
        "[arms.none]",
    ]
    for i in range(arms):
        lines.append(f"[arms.a{i}]")
        if draw(st.booleans()):
            lines.append(f'payload = {{ content = {{ {draw(st.sampled_from(["text", "price", "timer"]))} = "A" }} }}')
        lines.append(f'[arms.a{i}.offer]\ncurrency = "EUR"\npersonalised = true\n{NOTICE}')
        lines.append(f"amount = {draw(st.integers(0, 5000))}\nthreshold = {draw(st.integers(0, 10_000))}")
        lines.append(f"valid_days = {draw(st.integers(0, 100))}")
    if 'phase = "run"' in lines[2]:
        parts = {f"a{i}": draw(st.integers(0, 5)) for i in range(arms)} | {"none": draw(st.integers(0, 5))}
        total = sum(parts.values()) or 1
        shares = ", ".join(f"{arm} = {part / total!r}" for arm, part in parts.items() if part)
        lines.insert(3, "choice = { cold = { " + shares + ' }, warm = "none", hot = "none" }')
    return "\n".join(lines)


def parsed(text: str) -> Campaign | None:
    """Return the campaign; None where it is refused, with its line."""
    try:
        return parse_campaign(text.encode())
    except Malformed as error:
        refused = error
    assert refused.place.split(":")[1].isdigit()
    return None


@settings(max_examples=150, deadline=None)
@given(text=campaigns())
def test_what_parses_keeps_every_guard(text: str) -> None:
    tomllib.loads(text)
    campaign = parsed(text)
    if campaign is None:
        return
    assert campaign.experiment.holdout >= LEAST_HOLDOUT * 10_000
    assert campaign.experiment.holdout + campaign.experiment.taken <= 10_000
    assert campaign.arms["none"].offer is None
    for arm in campaign.arms.values():
        assert "price" not in arm.payload
        assert "timer" not in arm.payload
        if arm.offer:
            assert 0 < arm.offer.amount < arm.offer.threshold
            left = campaign.money.gross_margin - arm.offer.amount / arm.offer.threshold
            assert left >= campaign.money.minimum_margin
            assert 1 <= arm.offer.valid_days <= 90
    for shares in campaign.choice.values():
        assert sum(shares.values()) == 10_000
        assert min(shares.values()) > 0
    assert campaign.cap is not None
    assert campaign.cap.decisions >= 1
    decision = decision_of(campaign, SPEC)
    rule = decision.rule(model="promotion", tolerance=0.0, cuts=((-1.0, 1.0),) * len(decision.patterns))
    variables = variables_of(SPEC.features, SPEC.context)
    purposes = frozenset(feature.purpose for feature in SPEC.features)
    parts = Parts(purposes=purposes, models=frozenset({"promotion"}), tables=frozenset(), variables=variables)
    read = parse_decision(Table(rule.as_table(), "decisions.random"), parts)
    assert read == rule, "a manifest says the same"


def test_a_sound_campaign_parses() -> None:
    """The property above is about something."""
    text = PLAIN + 'score = "promotion"\n[money]\ncurrency = "EUR"\ngross_margin = 0.5\n'
    text += f'[arms.none]\n[arms.b.offer]\namount = 10\nthreshold = 100\ncurrency = "EUR"\nvalid_days = 7\n{NOTICE}\n'
    text += 'personalised = true\n[experiment]\nid = "a"\npurpose = "measure"'
    campaign = parse_campaign(text.encode())
    assert (campaign.kind, campaign.experiment.holdout, campaign.experiment.ramp) == ("promotion", 1_000, 1_000)


@pytest.mark.parametrize("holdout", ["0", "0.005"])
def test_no_holdout_no_campaign(holdout: str) -> None:
    text = f'{PLAIN}[arms.none]\n[arms.b]\n[experiment]\nid = "a"\npurpose = "measure"\nholdout = {holdout}'
    with pytest.raises(Malformed, match="holdout"):
        parse_campaign(text.encode())
