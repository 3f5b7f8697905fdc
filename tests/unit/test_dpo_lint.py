"""Lint: each rule has a policy that fails and one that passes; each finding names rule, place, source and remedy."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from entrenous_consent.dpo.lint import findings_sections, lint, lint_document
from entrenous_consent.dpo.rendering import render
from entrenous_consent.dpo.rules import EEA, LEVELS, SURENESS, rules
from entrenous_consent.dpo.words import LANGUAGES, load_words, read_catalog
from entrenous_consent.policy import PrivacyPolicy, parse_policy

ROOT = Path(__file__).parents[2]
TEXT = files("entrenous").joinpath("demo/policy.toml").read_text("utf-8")
PACKAGED = ("sdk/entrenous/demo", "exporters/entrenous_exporters/demo", "examples/online_shoppers")
CATALOG = read_catalog((files("entrenous_consent.dpo") / "catalog" / "lint.toml").read_text("utf-8"))

HEALTH = ('category = "user.behavior.purchase_history"', 'category = "user.health_and_medical"')
INFERRED = ("retention_days = 90", 'retention_days = 90\ninfers = ["user.health_and_medical"]')
EXPLICIT = ("[purposes.history]", "[purposes.history]\nexplicit_consent = true")
ON_CONTRACT = (
    'tcf_purposes = [1, 5]\ndpv = "dpv:Personalisation"\nlegal_basis = "consent"',
    'legal_basis = "contract"',
)
MESSAGE = '[[messages]]\nname = "m"\npurpose = "measure"\nrecipient = "Carrier"\n'
RECIPIENT = '[[recipients]]\nname = "Carrier"\ncontact = "c"\n'
HOSTED = '[[roles]]\nname = "Carrier"\ncontact = "c"\nrole = "processor"\ncountry = "US"\n'
ABROAD = RECIPIENT + 'country = "US"\n'
TRANSFER = '[[transfers]]\ncountry = "US"\nrecipient = "Carrier"\nsafeguard = "clauses of 2021/914"\n'
INTERESTED = ("[purposes.improve]", '[purposes.improve]\ninterest = "that the shop sells what is wanted"')
IMPROVE = 'legal_basis = "consent"\nterminal = "none"'
MEASURE = 'tcf_purposes = [1, 8]\ndpv = "dpv:ServiceUsageAnalytics"\nlegal_basis = "consent"\nterminal = "consent"'
EXEMPT = MEASURE.replace('terminal = "consent"', 'terminal = "exempt"\nterminal_ground = "audience measurement"')
REPORTLESS = (TEXT[TEXT.index("[[reports]]") : TEXT.index("[[features]]")], "")
ALONE_EXEMPT = [
    (MEASURE, EXEMPT),
    ('data_use = "personalize.content"', 'data_use = "essential.service"'),
    REPORTLESS,
]
"""Audience measurement and nothing else."""
OF_MEASURE = """[[features]]
name = "pages"
purpose = "measure"
category = "user.behavior"
source = "s"
retention_days = """
OF_IMPROVE = OF_MEASURE.replace('"measure"', '"improve"')
HALF_A_YEAR = "\nconsent_version = 1\nlifetime_days = 180"
OPENED = 'legal_basis = "contract"\nterminal = "consent"'
INTEREST = IMPROVE.replace('"consent"', '"legitimate_interests"')
BOUGHT = 'category = "user.behavior.purchase_history"'


def before_signals(text: str) -> tuple[str, str]:
    return "[signals]", f"{text}[signals]"


def lines(key: str, instead: str = "") -> tuple[str, str]:
    """Return the one line of the policy that begins with `key`, and what stands there instead."""
    (found,) = re.findall(rf"^{key} = .*\n", TEXT, re.MULTILINE)
    return found, instead


FAILS: dict[str, list[tuple[list[tuple[str, str]], str]]] = {
    "register_empty": [
        ([lines("data_subjects")], "data_subjects"),
        ([lines("audit_retention_days")], "audit_retention_days"),
        ([before_signals(MESSAGE)], "messages[0].recipient"),
        ([before_signals(f'{TRANSFER}kind = "scc"\n')], "transfers[0].recipient"),
    ],
    "no_way_out": [([lines(one)], f"rights.{one}") for one in ("refuse", "withdraw", "object", "erase")],
    "silence": [
        ([(IMPROVE, f'{IMPROVE}\nasked = "by_silence"')], "purposes.improve.asked"),
        ([(IMPROVE, f'{IMPROVE}\nasked = "preselected"')], "purposes.improve.asked"),
        ([(IMPROVE, OPENED + '\nasked = "preselected"')], "purposes.improve.asked"),
    ],
    "terminal_ground": [
        (
            [("retention_days = 90", f"retention_days = 90\n{OF_IMPROVE}1".replace("user.behavior", "user.device"))],
            "purposes.improve.terminal",
        )
    ],
    "terminal_interest": [
        (
            [(IMPROVE, INTEREST), INTERESTED],
            "purposes.improve.tcf_purposes",
        ),
        (
            [(IMPROVE, 'legal_basis = "consent"\nterminal = "exempt"\nterminal_ground = "our legitimate interest"')],
            "purposes.improve.terminal_ground",
        ),
        *(
            (
                [(IMPROVE, INTEREST), ("tcf_purposes = [1, 10]", f"tcf_purposes = [{one}]"), INTERESTED],
                "purposes.improve.legal_basis",
            )
            for one in (3, 4, 5, 6)
        ),
    ],
    "exempt_measurement": [
        ([(MEASURE, EXEMPT)], "purposes.measure.terminal"),
        ([*ALONE_EXEMPT, ('"train_ai_system"', '"personalize.content"')], "purposes.measure.terminal"),
        ([*ALONE_EXEMPT, ('"train_ai_system"', '"marketing.advertising"')], "purposes.measure.terminal"),
    ],
    "unkeyed": [
        ([('method = "hmac"', 'method = "hash"')], "identifiers[0].method"),
        ([('method = "hmac"', 'method = "none"')], "identifiers[0].method"),
    ],
    "short_key": [
        ([("key_bits = 256", "key_bits = 127")], "identifiers[0].key_bits"),
        ([("key_bits = 256", "key_bits = 127"), ('"hmac"', '"encryption"')], "identifiers[0].key_bits"),
    ],
    "key_beside": [([('key_kept = "apart"', 'key_kept = "beside"')], "identifiers[0].key_kept")],
    "special": [
        ([HEALTH], "features[3].category"),
        ([INFERRED], "features[3].infers"),
        ([HEALTH, EXPLICIT, ON_CONTRACT], "features[3].category"),
    ],
    "transfer": [
        *(([before_signals(RECIPIENT + f'country = "{one}"\n')], "recipients[0].country") for one in ("CH", "GB")),
        ([before_signals(ABROAD)], "recipients[0].country"),
        ([before_signals(HOSTED)], "roles[0].country"),
        ([before_signals(ABROAD + TRANSFER)], "transfers[0].kind"),
        ([before_signals(f'{ABROAD}{TRANSFER}kind = "derogation"\n')], "transfers[0].kind"),
    ],
    "interest_unstated": [
        ([(IMPROVE, 'legal_basis = "legitimate_interests"\nterminal = "none"')], "purposes.improve.interest")
    ],
    "taxonomy": [
        ([('data_use = "train_ai_system"', 'data_use = "improve.system"')], "purposes.improve.data_use"),
        ([('category = "user.behavior.purchase_history"', 'category = "user.purchases"')], "features[3].category"),
        ([('category = "user.unique_id"', 'category = "user.id"')], "identifiers[0].category"),
        ([("retention_days = 90", 'retention_days = 90\ninfers = ["mood"]')], "features[3].infers"),
        ([('["customer", "visitor"]', '["customer", "martian"]')], "data_subjects[1]"),
    ],
    "pseudonymisation": [
        ([(TEXT[TEXT.index("[[identifiers]]") : TEXT.index("[[decisions]]")], "")], "identifiers"),
        ([lines("domain")], "identifiers[0].domain"),
        ([("per_purpose = true", "per_purpose = false")], "identifiers[0].per_purpose"),
    ],
    "choice_lifetime": [
        ([("lifetime_days = 180", "lifetime_days = 179")], "purposes.personalize.lifetime_days"),
        ([("lifetime_days = 180", "lifetime_days = 187")], "purposes.improve.lifetime_days"),
        ([(IMPROVE, OPENED), ("lifetime_days = 180", "lifetime_days = 187")], "purposes.improve.lifetime_days"),
    ],
    "decides_alone": [
        ([('effect = "offer"', f'effect = "{effect}"')], "decisions[0].alone")
        for effect in ("credit", "insurance", "exclusion")
    ],
    "pressure": [
        ([("retention_days = 90", f'retention_days = 90\ninfers = ["{one}"]')], "decisions[0].inputs")
        for one in ("price_sensitivity", "urgency", "vulnerability")
    ],
    "unequal_offer": [
        ([("retention_days = 90", 'retention_days = 90\ninfers = ["sex"]')], "decisions[0].inputs"),
        ([("retention_days = 90", 'retention_days = 90\ninfers = ["residence"]')], "decisions[0].inputs"),
        (
            [('category = "user.behavior.purchase_history"', 'category = "user.demographic.gender"')],
            "decisions[0].inputs",
        ),
        (
            [
                ('category = "user.behavior.purchase_history"', 'category = "user.contact.address.country"'),
                lines("inputs"),
            ],
            "decisions[0].inputs",
        ),
    ],
    "telling_name": [([('name = "bought_*"', 'name = "bought_halal_*"')], "features[3].infers")],
    "children": [([lines("children")], "children"), ([lines("children", 'children = "yes"\n')], "children")],
    "other_rights": [([lines(one)], f"rights.{one}") for one in ("access", "correct", "complain")],
    "cohort": [([("cohort = 20", "cohort = 19")], "reports[0].cohort")],
    "lifetime_epsilon": [
        ([("lifetime_epsilon = 12.0\nsecurity", "security")], "lifetime_epsilon"),
        ([("lifetime_epsilon = 12.0\nsecurity", "lifetime_epsilon = 11.9\nsecurity")], "lifetime_epsilon"),
    ],
    "exempt_durations": [
        ([*ALONE_EXEMPT, ("lifetime_days = 180", "lifetime_days = 397")], "purposes.measure.lifetime_days"),
        (
            [*ALONE_EXEMPT, ("retention_days = 90", f"retention_days = 90\n{OF_MEASURE}762")],
            "features[4].retention_days",
        ),
    ],
}
PASSES: dict[str, list[tuple[str, str]]] = {
    "register_empty": [before_signals(RECIPIENT + MESSAGE)],
    "no_way_out": [lines("erase", 'erase = "dpo@shop.example"\n')],
    "silence": [(IMPROVE, 'legal_basis = "contract"\nterminal = "none"\nasked = "by_silence"')],
    "terminal_ground": [
        (IMPROVE, 'legal_basis = "consent"\nterminal = "exempt"\nterminal_ground = "the service asked for"'),
        ("retention_days = 90", f"retention_days = 90\n{OF_IMPROVE}1"),
    ],
    "terminal_interest": [
        (IMPROVE, 'legal_basis = "legitimate_interests"\nterminal = "none"'),
        ("tcf_purposes = [1, 10]", "tcf_purposes = [10]"),
        INTERESTED,
    ],
    "exempt_measurement": ALONE_EXEMPT,
    "unkeyed": [('method = "hmac"', 'method = "encryption"')],
    "short_key": [("key_bits = 256", "key_bits = 128")],
    "key_beside": [("key_bits = 256", "key_bits = 128")],
    "special": [HEALTH, EXPLICIT],
    "transfer": [before_signals(f'{ABROAD}{TRANSFER}kind = "scc"\n')],
    "interest_unstated": [(IMPROVE, 'legal_basis = "legitimate_interests"\nterminal = "none"'), INTERESTED],
    "taxonomy": [("retention_days = 90", 'retention_days = 90\ninfers = ["urgency"]')],
    "pseudonymisation": [('method = "hmac"', 'method = "table"')],
    "choice_lifetime": [("lifetime_days = 180", "lifetime_days = 186")],
    "decides_alone": [('effect = "offer"\nalone = true', 'effect = "credit"\nalone = false')],
    "pressure": [
        ("retention_days = 90", 'retention_days = 90\ninfers = ["urgency"]'),
        lines("inputs", 'inputs = ["visit_*", "bough"]\n'),
    ],
    "unequal_offer": [
        ("retention_days = 90", 'retention_days = 90\ninfers = ["sex"]'),
        ('effect = "offer"', 'effect = "content"'),
    ],
    "telling_name": [('name = "bought_*"', 'name = "bought_halal_*"'), INFERRED],
    "children": [lines("children", 'children = "no"\n')],
    "other_rights": [lines("correct", 'correct = "by post"\n')],
    "cohort": [("cohort = 20", "cohort = 21")],
    "lifetime_epsilon": [("lifetime_epsilon = 12.0\nsecurity", "lifetime_epsilon = 24.0\nsecurity")],
    "exempt_durations": [*ALONE_EXEMPT, ("lifetime_days = 180", "lifetime_days = 396")],
}


def changed(changes: list[tuple[str, str]]) -> PrivacyPolicy:
    text = TEXT
    for written, instead in changes:
        assert written in text, written
        text = text.replace(written, instead)
    return parse_policy(text.encode())


def found(policy: PrivacyPolicy, rule: str) -> list[str]:
    return [one.finding.place for one in lint(policy) if one.rule.id == rule]


def test_every_rule_has_policies_that_fail_and_one_that_passes():
    assert [rule.id for rule in rules()] == list(FAILS) == list(PASSES)


@pytest.mark.parametrize(
    ("rule", "changes", "place"),
    [(rule, changes, place) for rule, cases in FAILS.items() for changes, place in cases],
)
def test_a_rule_finds_what_fails_it_and_where(rule, changes, place):
    assert place in found(changed(changes), rule)


@pytest.mark.parametrize("rule", PASSES)
def test_a_rule_lets_pass_what_keeps_it(rule):
    assert found(changed(PASSES[rule]), rule) == []


def test_what_no_parser_lets_through_is_found_all_the_same():
    policy = parse_policy(TEXT.encode())
    purpose = replace(policy.purposes["measure"], terminal="exempt", terminal_ground=" ")
    bare = replace(policy, purposes={**policy.purposes, "measure": purpose}, features=(), security=())
    assert found(bare, "terminal_ground") == ["purposes.measure.terminal_ground"]
    assert found(bare, "register_empty") == ["features", "security"]


def test_a_report_under_the_exemption_is_found_even_where_nothing_profiles():
    text = TEXT.replace(MEASURE, EXEMPT).replace('"personalize.content"', '"essential.service"')
    said = [one.finding.said for one in lint(parse_policy(text.encode())) if one.rule.id == "exempt_measurement"]
    assert said == ["lift"]


def test_near_misses_are_let_pass():
    untouched = changed([("retention_days = 90", f"retention_days = 90\n{OF_IMPROVE}1")])
    assert found(untouched, "terminal_ground") == []
    kept = changed([*ALONE_EXEMPT, ("retention_days = 90", f"retention_days = 90\n{OF_MEASURE}761")])
    assert found(kept, "exempt_durations") == []
    text = TEXT.replace(MEASURE, EXEMPT).replace('"personalize.content"', '"essential.service"')
    other = text.replace('name = "promotion"\npurpose = "measure"', 'name = "promotion"\npurpose = "history"')
    assert found(parse_policy(other.encode()), "exempt_measurement") == []


def test_a_feature_that_reads_the_terminal_is_no_matter_where_consent_opens_it():
    assert found(parse_policy(TEXT.encode()), "terminal_ground") == []
    assert 'category = "user.behavior.browsing_history"' in TEXT


NEAR = {
    "storing on the terminal by consent, whatever the basis": (
        "terminal_interest",
        [(IMPROVE, INTEREST.replace('terminal = "none"', 'terminal = "consent"')), INTERESTED],
    ),
    "consent that tells of purpose 5": ("terminal_interest", [("tcf_purposes = [1, 10]", "tcf_purposes = [5]")]),
    "a choice on a contract": (
        "choice_lifetime",
        [(f"{IMPROVE}{HALF_A_YEAR}", IMPROVE.replace('"consent"', '"contract"') + HALF_A_YEAR.replace("180", "400"))],
    ),
    "an interest that is named where nothing is exempt": (
        "terminal_interest",
        [(IMPROVE, f'{IMPROVE}\nterminal_ground = "our legitimate interest"')],
    ),
    "a message to the controller itself": (
        "register_empty",
        [before_signals(MESSAGE.replace("Carrier", "Demo Shop (fictional)"))],
    ),
    "an identifier without a key": ("short_key", [('"hmac"', '"hash"'), ("key_bits = 256", "key_bits = 0")]),
    "a telling name of special data": ("telling_name", [('name = "bought_*"', 'name = "bought_halal_*"'), HEALTH]),
    "no report and no bound": ("lifetime_epsilon", [REPORTLESS, ("lifetime_epsilon = 12.0\nsecurity", "security")]),
    "a recipient in France": ("transfer", [before_signals(RECIPIENT + 'country = "FR"\n')]),
    "a processor abroad under a safeguard": ("transfer", [before_signals(f'{HOSTED}{TRANSFER}kind = "scc"\n')]),
    "a transfer to a processor": ("register_empty", [before_signals(f'{HOSTED}{TRANSFER}kind = "scc"\n')]),
    "a recipient of no country": ("transfer", [before_signals(RECIPIENT)]),
}
"""Policies that come close to failing a rule and do not."""


@pytest.mark.parametrize("near", NEAR)
def test_what_comes_close_to_failing_a_rule_passes_it(near):
    rule, changes = NEAR[near]
    assert found(changed(changes), rule) == []


def test_a_derogation_is_told_apart_from_a_safeguard_that_is_not_named():
    told = [
        [
            one.finding.said
            for one in lint(changed([before_signals(ABROAD + TRANSFER + kind)]))
            if one.rule.id == "transfer"
        ]
        for kind in ("", 'kind = "derogation"\n')
    ]
    assert told == [["found"], ["derogation"]]


def test_every_country_of_the_eea_is_one_and_no_other():
    union = "AT|BE|BG|CY|CZ|DE|DK|EE|ES|FI|FR|GR|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK"
    letters = [chr(one) for one in range(ord("A"), ord("Z") + 1)]
    inside = {first + second for first in letters for second in letters if EEA.fullmatch(first + second)}
    assert inside == {*union.split("|"), "IS", "LI", "NO"}


@pytest.mark.parametrize("folder", PACKAGED)
def test_a_packaged_policy_has_no_error(folder):
    policy = parse_policy((ROOT / folder / "policy.toml").read_bytes())
    assert [one for one in lint(policy) if one.rule.level == "error"] == []


def test_the_example_of_the_formats_has_no_error():
    (text,) = re.findall(r"^```toml policy\n(.*?)^```", (ROOT / "docs/formats.md").read_text("utf-8"), re.S | re.M)
    assert [one.finding.place for one in lint(parse_policy(text.encode())) if one.rule.level == "error"] == []


def test_every_rule_has_its_words_and_nothing_else_has():
    assert {rule.level for rule in rules()} == set(LEVELS)
    assert {rule.sure for rule in rules()} == set(SURENESS)
    for rule in rules():
        for part in ("says", "source", "remedy"):
            assert f"{rule.id}.{part}" in CATALOG
        assert any(re.search(r"\b(19|20)\d\d\b", CATALOG[f"{rule.id}.source"][one]) for one in LANGUAGES) or (
            rule.id == "taxonomy"
        ), "a source has its date"
    tables = {key.partition(".")[0] for key in CATALOG if "." in key} - {"heading", "sure"}
    assert tables == {rule.id for rule in rules()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_finding_names_rule_place_source_and_remedy(language):
    for rule, cases in FAILS.items():
        for changes, place in cases:
            said = render(lint_document(changed(changes), language), "json")
            [one] = [one for one in json.loads(said)["data"]["findings"] if one["rule"] == rule][:1]
            assert place in said
            assert all(one.values())
            assert "{" not in one["found"]
            text = " ".join(render(lint_document(changed(changes), language), "text").split())
            assert f"{rule} · Source" in text
            assert " ".join(one["remedy"].split()) in text


def test_the_gravest_comes_first_and_is_summed_up():
    policy = changed([("cohort = 20", "cohort = 19"), lines("erase"), lines("object")])
    assert [one.rule.level for one in lint(policy)] == ["error", "error", "warning"]
    [lead] = lint_document(policy, "en").lead
    assert lead.mark == "ERROR"
    assert "1 of 24 rules say ERROR, 1 WARNING, 0 INFO" in lead.text


def test_a_policy_without_findings_says_so():
    document = lint_document(parse_policy(TEXT.encode()), "fr")
    assert document.lead[0].tone == "good"
    assert document.data["findings"] == []
    assert findings_sections(load_words("fr", "lint"), ()) == ()
