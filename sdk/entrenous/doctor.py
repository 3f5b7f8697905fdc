"""`entrenous doctor`: open what a configuration names, as an app would, and say what is there or what to mend.

A package above may teach the command to examine more than an app's installation: a function under the entry points
`entrenous.doctor` that takes the command's parser.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

from entrenous.client import Client, Config
from entrenous.updates.deployment import Deployment
from entrenous_consent.errors import Missing

__all__ = ["FLAGS", "doctor"]

FLAGS = ("source", "root", "tenant", "bundle", "state", "keys")
"""What names an app's installation; none may be left out."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def doctor(commands: Commands) -> None:
    """Register `entrenous doctor`."""
    parser = commands.add_parser(
        "doctor", help="check a repository, a store and its keys as an app would open them; asks the publisher once"
    )
    parser.add_argument("--source", help="the repository: a directory or an https address")
    parser.add_argument("--root", type=Path, help="the trusted root metadata")
    parser.add_argument("--tenant", help="whose privacy policy")
    parser.add_argument("--bundle", help="which bundle, by name")
    parser.add_argument("--state", type=Path, help="the directory of the store")
    parser.add_argument("--keys", type=Path, help="the directory of the keyring")
    parser.set_defaults(run=partial(_run, parser))
    for point in sorted(entry_points(group="entrenous.doctor"), key=lambda one: one.name):
        point.load()(parser)


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    lacking = [f"--{name}" for name in FLAGS if getattr(arguments, name) is None]
    if lacking:
        parser.error(f"the following arguments are required: {', '.join(lacking)}")
    config = Config(
        source=arguments.source if "://" in arguments.source else Path(arguments.source),
        deployment=Deployment(root=arguments.root, tenant=arguments.tenant, bundle=arguments.bundle),
        state=arguments.state,
        keys=arguments.keys,
        flush_seconds=0,
        refresh_seconds=0,
    )
    with Client.open(config) as client:
        policy, manifest = client.policy, client.bundle
        print(f"policy    {policy.tenant} version {policy.version}, purposes {', '.join(policy.purposes)}")
        if manifest is not None:
            expires = datetime.fromtimestamp(manifest.expires, UTC).date()
            print(f"bundle    {manifest.name} version {manifest.version}, permitted by this policy, expires {expires}")
            for name, rule in manifest.decisions.items():
                patterns = "; ".join(" + ".join(pattern.purposes) for pattern in rule.patterns)
                print(f"decision  {name}, for {rule.purpose}, consent patterns {patterns}")
        print(f"store     {arguments.state} opens under the keys in {arguments.keys}")
        if client.refused is not None:
            raise client.refused
        if manifest is None:
            remedy = "publish a newer one; until then decisions answer the default"
            raise Missing("no bundle may serve", place=f"bundles/{arguments.bundle}", remedy=remedy)
        print(f"publisher {arguments.source} was heard, its signatures verify")
    return 0
