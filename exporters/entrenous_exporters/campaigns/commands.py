"""`entrenous campaign check | preview | plan` and `entrenous simulate`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.console import Console
from rich.table import Table

from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.policy import PrivacyPolicy, parse_policy

if TYPE_CHECKING:
    from entrenous_exporters.simulate import Simulated

__all__ = ["campaign", "simulate"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def campaign(commands: Commands) -> None:
    """Register `entrenous campaign`."""
    parser = commands.add_parser("campaign", help="check, preview and plan a campaign before anything ships")
    verbs = parser.add_subparsers(required=True, metavar="verb")
    check = verbs.add_parser("check", help="what is wrong, by line, and what to consider")
    preview = verbs.add_parser("preview", help="who would see what, over the table of a specification")
    plan = verbs.add_parser("plan", help="what the comparison needs, and when it will show")
    for one in (check, preview, plan):
        one.add_argument("campaign", type=Path, help="the campaign (TOML)")
        one.add_argument("--policy", type=Path, required=True, help="the privacy policy that must permit it (TOML)")
    for one in (check, preview):
        one.add_argument("--spec", type=Path, required=True, help="the training specification whose score it uses")
    preview.add_argument("--bundle", type=Path, required=True, help="a bundle that this specification has trained")
    _grants(preview)
    plan.add_argument("--visitors", type=float, required=True, help="new visitors a day whom it is for, and who agreed")
    plan.add_argument("--conversion", type=float, required=True, help="the share of them who order anyway, like .03")
    plan.add_argument("--days", type=int, default=28, help="of exposure (28 by default)")
    check.set_defaults(run=_check)
    preview.set_defaults(run=_preview)
    plan.set_defaults(run=_plan)


def simulate(commands: Commands) -> None:
    """Register `entrenous simulate`."""
    parser = commands.add_parser(
        "simulate", help="what a bundle would have answered, over the table of a specification"
    )
    parser.add_argument("bundle", type=Path, help="the bundle")
    parser.add_argument("--spec", type=Path, required=True, help="the training specification that names the table")
    parser.add_argument("--policy", type=Path, required=True, help="the privacy policy that must permit it (TOML)")
    _grants(parser)
    parser.set_defaults(run=_simulate)


def _grants(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--granted", default="", metavar="PURPOSES", help="what every visitor granted (all by default)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts as JSON too")


def _check(arguments: argparse.Namespace) -> int:
    from entrenous_exporters.campaigns import decision_of, read_campaign  # noqa: PLC0415 — CEL takes a while to import
    from entrenous_exporters.campaigns.check import warnings_of  # noqa: PLC0415
    from entrenous_exporters.campaigns.form import at_its_line  # noqa: PLC0415
    from entrenous_exporters.campaigns.lines import line_of  # noqa: PLC0415
    from entrenous_exporters.spec import read_spec  # noqa: PLC0415
    from entrenous_exporters.train import check_permitted  # noqa: PLC0415

    console, place = Console(), arguments.campaign.name
    read, spec = read_campaign(arguments.campaign), read_spec(arguments.spec)
    text = arguments.campaign.read_text("utf-8")
    try:
        decision = decision_of(read, spec, place)
    except Malformed as error:
        raise at_its_line(error, text, place) from error
    check_permitted(spec, _policy(arguments.policy), [decision])
    found = list(warnings_of(read, int(time.time())))
    for one in found:
        where = f"{place}:{line_of(text, one.place)}: {one.place}"
        console.print(f"{where}: {one.what} — {one.remedy}", soft_wrap=True, highlight=False)
    said = "nothing to consider" if not found else f"{len(found)} to consider"
    console.print(f"{read.name}: a {read.kind} to {read.objective}, by {read.metric}; {said}", highlight=False)
    return 0


def _preview(arguments: argparse.Namespace) -> int:
    from dataclasses import replace  # noqa: PLC0415

    from entrenous.bundle import read_bundle  # noqa: PLC0415
    from entrenous_exporters.build import cuts_of  # noqa: PLC0415 — scikit-learn takes a second to import
    from entrenous_exporters.built import score  # noqa: PLC0415
    from entrenous_exporters.campaigns import decision_of, read_campaign  # noqa: PLC0415
    from entrenous_exporters.spec import read_spec  # noqa: PLC0415

    read, spec = read_campaign(arguments.campaign), read_spec(arguments.spec)
    unscheduled = replace(read, start=0, until=0)  # the visits are past ones, whenever the campaign is to run
    decision, bundle = decision_of(unscheduled, spec, arguments.campaign.name), read_bundle(_bytes(arguments.bundle))
    rows = _rows(arguments.spec)
    if decision.kind == "rule":
        rule = decision.rule(model="", tolerance=0.0, cuts=())
    else:
        scored = bundle.manifest.decisions[read.score]
        margins = score(bundle.models[scored.model], rows.x, singly=scored.tolerance > 0)
        rule = decision.rule(model=scored.model, tolerance=scored.tolerance, cuts=cuts_of(margins, decision))
    campaigned = replace(bundle, manifest=replace(bundle.manifest, decisions={read.name: rule}))
    return _show(campaigned, _policy(arguments.policy), rows, arguments)


def _simulate(arguments: argparse.Namespace) -> int:
    from entrenous.bundle import read_bundle  # noqa: PLC0415

    bundle = read_bundle(_bytes(arguments.bundle), place=arguments.bundle.name)
    return _show(bundle, _policy(arguments.policy), _rows(arguments.spec), arguments)


def _show(bundle: Any, policy: PrivacyPolicy, rows: Any, arguments: argparse.Namespace) -> int:
    from entrenous_consent.files import write_whole  # noqa: PLC0415
    from entrenous_exporters.simulate import simulate as run  # noqa: PLC0415 — onnxruntime takes a while to import

    granted = frozenset(filter(None, arguments.granted.replace(",", " ").split())) or None
    found = run(bundle, policy, rows, granted=granted)
    console = Console()
    for name, one in found.items():
        console.print(_table(name, one))
    if arguments.json:
        write_whole(arguments.json, json.dumps(_plain(found), indent=1, ensure_ascii=False).encode())
    console.print("Simulated over past visits: what would have been answered, not what it would have brought.")
    return 0


def _table(name: str, one: Simulated) -> Table:
    from entrenous_exporters.rows import FEWEST_IN_GROUP  # noqa: PLC0415

    table = Table("tranche", "arm", "cause", "visits", "share", "visitors", title=f"{name}: {one.rows:,} visits")
    for answer, count in sorted(one.answers.items()):
        table.add_row(*answer, f"{count:,}", f"{count / max(one.rows, 1):.1%}", f"{one.visitors[answer]:,}")
    for (group, value), arms in sorted(one.groups.items()):
        total = sum(arms.values())
        said = ", ".join(f"{arm or 'none'} {count / total:.1%}" for arm, count in sorted(arms.items()))
        table.add_row(f"{group}: {value}", said, "", f"{total:,}", "", "")
    if one.hidden:
        table.caption = f"{one.hidden} groups of fewer than {FEWEST_IN_GROUP} visitors are not told apart"
    return table


def _plain(found: Mapping[str, Simulated]) -> dict[str, Any]:
    return {
        name: {
            "rows": one.rows,
            "answers": [
                {"tranche": answer[0], "arm": answer[1], "cause": answer[2], "visits": count}
                | {"visitors": one.visitors[answer]}
                for answer, count in sorted(one.answers.items())
            ],
        }
        for name, one in found.items()
    }


def _plan(arguments: argparse.Namespace) -> int:
    from entrenous_exporters.campaigns import read_campaign  # noqa: PLC0415 — CEL takes a while to import
    from entrenous_exporters.campaigns.plan import cost_of, plan  # noqa: PLC0415

    read, policy = read_campaign(arguments.campaign), _policy(arguments.policy)
    report = policy.report(read.name, read.experiment.purpose)
    if report is None:
        remedy = f"ask the DPO for a [[reports]] named {read.name}, for {read.experiment.purpose}"
        raise Missing("has no report on this campaign", place=arguments.policy.name, remedy=remedy)
    console = Console()
    found = plan(read, report, daily=arguments.visitors, conversion=arguments.conversion, days=arguments.days)
    table = Table("tranche", "arm", "visitors", "held out", "least effect seen", title=f"after {arguments.days} days")
    for one in found:
        seen = "hidden: too few" if one.detectable is None else f"{one.detectable:+.1%} of the conversion"
        table.add_row(one.tranche, one.arm, f"{one.treated:,}", f"{one.held:,}", seen)
    console.print(table)
    hidden = sum(one.hidden for one in found)
    said = f"{hidden} of {len(found)} comparisons stay hidden" if hidden else "every comparison shows"
    if read.money is not None:
        cost, budget = cost_of(read, found, arguments.conversion), read.money.budget
        over = f", over the budget of {budget:,}: ramp less, or offer less" if 0 < budget < cost else ""
        console.print(f"arms cost about {cost:,.0f} (minor units, {read.money.currency}){over}", soft_wrap=True)
    console.print(f"{said}; outcomes are counted for {report.window_days} days after the exposure", soft_wrap=True)
    return 0


def _rows(spec: Path) -> Any:
    from entrenous_exporters.rows import allowed_rows  # noqa: PLC0415
    from entrenous_exporters.spec import read_spec  # noqa: PLC0415
    from entrenous_exporters.tables import open_backend  # noqa: PLC0415
    from entrenous_exporters.workshop import rows_of  # noqa: PLC0415

    read = read_spec(spec)
    given = rows_of(open_backend(threads=2), read, spec)
    rows = allowed_rows(given, read)
    if not len(rows.x):
        remedy = "name in data.improve who granted it, or wait until somebody has"
        raise Malformed("has no visit of anyone who granted `improve`", place=spec.name, remedy=remedy)
    if left := len(given.x) - len(rows.x):
        Console().print(f"left out: {left:,} visits of visitors who did not grant `improve`", highlight=False)
    return rows


def _policy(path: Path) -> PrivacyPolicy:
    return parse_policy(_bytes(path), place=path.name)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise Missing("is not there", place=str(path), remedy="check the path")
    return path.read_bytes()
