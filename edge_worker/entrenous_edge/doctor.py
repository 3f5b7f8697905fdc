"""`entrenous doctor --config edge.toml`: examine a worker's host, and say on one line a check what to mend.

It may be asked while workers run on the same directories: it writes to none of them.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from entrenous.config import system_clock
from entrenous_consent.errors import Refusal
from entrenous_edge import doors, holdings, host
from entrenous_edge.config import EdgeConfig, read_config
from entrenous_edge.findings import Finding, mend, ok, told

__all__ = ["examine", "register"]


def register(parser: argparse.ArgumentParser) -> None:
    """Add `--config` to `entrenous doctor`."""
    parser.add_argument("--config", type=Path, help="a worker's configuration (TOML): examine its host instead")
    parser.add_argument("--json", action="store_true", help="with --config: one JSON object")
    parser.set_defaults(run=partial(_run, parser, parser.get_default("run")))


def _run(parser: argparse.ArgumentParser, otherwise: Any, arguments: argparse.Namespace) -> int:
    if arguments.config is None:
        if arguments.json:
            parser.error("--json: goes with --config")
        return int(otherwise(arguments))
    findings = examine(arguments.config)
    to_mend = sum(one.verdict == "mend" for one in findings)
    if arguments.json:
        print(json.dumps({"mend": to_mend, "findings": [one.table() for one in findings]}, ensure_ascii=False))
    else:
        for one in findings:
            print(one)
    return 1 if to_mend else 0


def examine(path: Path, now: int | None = None) -> list[Finding]:
    """Return what there is to say of the worker that the configuration at `path` describes. Raises nothing.

    Args:
        now: Unix seconds, the system's by default.
    """
    try:
        config = read_config(path)
    except Refusal as error:
        return [mend("config", error.what, error.place, error.remedy)]
    except OSError as error:
        remedy = "check the owner and mode of it and of the directories above, and as whom this runs"
        return [mend("config", f"can't be read ({type(error).__name__})", path, remedy)]
    return [ok("config", "is read, and its secrets are their owner's alone", path), *_findings(config, now)]


def _findings(config: EdgeConfig, now: int | None) -> list[Finding]:
    moment = system_clock() if now is None else now
    checks = {
        "user": lambda: host.user(config, os.geteuid()),
        "files": host.limits,
        "state": lambda: host.directories(config),
        "keyring": lambda: holdings.keyring(config, moment),
        "store": lambda: holdings.store(config),
        "publisher": lambda: holdings.supply(config, moment),
        "listen": lambda: doors.ports(config),
        "callers": lambda: doors.openings(config),
        "collector": lambda: doors.collector(config),
    }
    return [finding for check, work in checks.items() for finding in told(check, work)]
