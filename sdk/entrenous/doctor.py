"""`entrenous doctor`: open what a configuration names, as an app would, and say what is there or what to mend."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from entrenous.client import Client, Config, system_clock
from entrenous_consent.errors import Forbidden

__all__ = ["doctor"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def doctor(commands: Commands) -> None:
    """Register `entrenous doctor`."""
    parser = commands.add_parser(
        "doctor", help="check a policy, a bundle, a store and its keys as an app would open them"
    )
    for name, what in (
        ("policy", "the privacy policy (TOML)"),
        ("bundle", "the bundle"),
        ("state", "the directory of the store"),
        ("keys", "the directory of the keyring"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    config = Config(
        policy=arguments.policy,
        bundle=arguments.bundle,
        state=arguments.state,
        keys=arguments.keys,
        flush_seconds=0,
    )
    with Client.open(config) as client:
        policy, manifest = client.policy, client.bundle
        print(f"policy    {policy.tenant} version {policy.version}, purposes {', '.join(policy.purposes)}")
        expires = datetime.fromtimestamp(manifest.expires, UTC).date()
        if manifest.expires <= system_clock():
            remedy = "train and ship a newer one; until then decisions answer the default"
            raise Forbidden(f"expired on {expires}", place=str(arguments.bundle), remedy=remedy)
        print(f"bundle    {manifest.name} version {manifest.version}, permitted by this policy, expires {expires}")
        for name, rule in manifest.decisions.items():
            patterns = "; ".join(" + ".join(pattern.purposes) for pattern in rule.patterns)
            print(f"decision  {name}, for {rule.purpose}, consent patterns {patterns}")
        print(f"store     {arguments.state} opens under the keys in {arguments.keys}")
    return 0
