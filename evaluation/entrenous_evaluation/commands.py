"""`entrenous collect`, `evaluate` and `learn` on the command line. Heavy parts are imported when a command runs."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from entrenous_consent.errors import Malformed, Missing

if TYPE_CHECKING:
    from entrenous_evaluation.answer import Costs

__all__ = ["collect", "evaluate", "learn"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def collect(commands: Commands) -> None:
    """Register `entrenous collect`."""
    parser = commands.add_parser("collect", help="receive reports from workers")
    parser.add_argument("--config", type=Path, required=True, help="the collector's configuration (TOML)")
    parser.set_defaults(run=_collect)


def evaluate(commands: Commands) -> None:
    """Register `entrenous evaluate`."""
    parser = commands.add_parser("evaluate", help="what an experiment's reports say")
    parser.add_argument("--database", type=Path, required=True, help="the collector's file")
    parser.add_argument("--tenant", default="", help="whose experiment; not needed where there is one")
    parser.add_argument("--experiment", default="", help="which experiment; not needed where there is one")
    parser.add_argument(
        "--costs", type=Path, help="what arms cost (TOML: gross_margin, arms.<name>.per_visitor, per_order)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the answer as JSON too")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as one offline page too")
    parser.add_argument("--simulated", default="", metavar="WORDS", help="what in these figures did not happen")
    parser.set_defaults(run=_evaluate)


def learn(commands: Commands) -> None:
    """Register `entrenous learn`."""
    parser = commands.add_parser("learn", help="what an experiment's reports suggest for the next bundle")
    parser.add_argument("--database", type=Path, required=True, help="the collector's file")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle that serves")
    parser.add_argument("--settings", type=Path, required=True, help="how to learn (TOML: metric, costs, guards)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the proposal goes (TOML)")
    parser.add_argument("--decision", default="", help="which; not needed where one has an experiment")
    parser.add_argument("--tenant", default="", help="whose reports; not needed where there is one")
    parser.add_argument("--language", choices=("en", "fr"), default="en", help="of the words")
    parser.add_argument("--simulated", default="", metavar="WORDS", help="what in these figures did not happen")
    parser.set_defaults(run=_learn)


def _collect(arguments: argparse.Namespace) -> int:
    from entrenous_evaluation.collector import collect as run  # noqa: PLC0415 — a web server takes a while to import
    from entrenous_evaluation.collector import read_collector_config  # noqa: PLC0415

    run(read_collector_config(arguments.config), lambda text: print(text, flush=True))
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415 — scipy takes a while to import

    from entrenous_consent.files import write_whole  # noqa: PLC0415
    from entrenous_evaluation.answer import evaluate as answer_of  # noqa: PLC0415
    from entrenous_evaluation.dashboard import render  # noqa: PLC0415
    from entrenous_evaluation.spoken import as_json, show  # noqa: PLC0415
    from entrenous_evaluation.warehouse import Warehouse  # noqa: PLC0415

    reports = Warehouse(arguments.database).reports(tenant=arguments.tenant, experiment=arguments.experiment)
    answer = answer_of(reports, costs=_costs(arguments.costs), simulated=arguments.simulated)
    show(answer, Console())
    if arguments.json:
        write_whole(arguments.json, as_json(answer).encode())
    if arguments.html:
        write_whole(arguments.html, render(answer).encode())
    return 0


def _learn(arguments: argparse.Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415 — scipy takes a while to import

    from entrenous.bundle import read_bundle  # noqa: PLC0415
    from entrenous_consent.files import write_whole  # noqa: PLC0415
    from entrenous_evaluation.learning.proposal import propose  # noqa: PLC0415
    from entrenous_evaluation.learning.reading import decision_of, named, rounds_of  # noqa: PLC0415
    from entrenous_evaluation.learning.settings import parse_learning  # noqa: PLC0415
    from entrenous_evaluation.learning.written import as_toml, show  # noqa: PLC0415
    from entrenous_evaluation.warehouse import Warehouse  # noqa: PLC0415

    learning = parse_learning(_toml(arguments.settings, "--settings"), arguments.settings.name)
    if not arguments.bundle.is_file():
        raise Missing("is not there", place=str(arguments.bundle), remedy="check --bundle")
    manifest = read_bundle(arguments.bundle.read_bytes(), place=arguments.bundle.name).manifest
    name, rule, experiment = named(manifest.decisions, arguments.decision)
    reports = Warehouse(arguments.database).reports(tenant=arguments.tenant, experiment=experiment)
    if len({one.tenant for one in reports}) > 1:
        raise Malformed("are of several tenants", place="reports", remedy="name one with --tenant")
    remembered = learning.memory == "manifest"
    if remembered:
        reports = [one for one in reports if (one.bundle, one.bundle_version) == (manifest.name, manifest.version)]
    if not reports:
        raise Missing("there is none on it", place="reports", remedy="collect some first, or remember by reports")
    decision = decision_of(name, rule, learning.parents, remembered=remembered)
    proposal = propose(decision, rounds_of(reports), learning.settings)
    show(proposal, Console(), arguments.language)
    written = as_toml(proposal, language=arguments.language, simulated=arguments.simulated)
    write_whole(arguments.out, written.encode())
    return 0


def _costs(path: Path | None) -> Costs | None:
    from entrenous_evaluation.answer import parse_costs  # noqa: PLC0415

    return None if path is None else parse_costs(_toml(path, "--costs"), path.name)


def _toml(path: Path, option: str) -> dict[str, object]:
    if not path.is_file():
        raise Missing("is not there", place=str(path), remedy=f"check {option}")
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise Malformed(f"is not TOML in UTF-8 ({error})", place=path.name, remedy="mend that line") from error
