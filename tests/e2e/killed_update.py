"""An updater killed at random points, over and over; what may serve afterwards is the old pair or the new one.

`python -m tests.e2e.killed_update HOME KILLS SEED` prints one JSON line of where the kills landed, or dies on the first
broken promise. Each published step raises policy and bundle together, and the bundle asks for the retention that only
its own policy (or a wider one) allows: a mix would be forbidden. Half of the kills come from the parent after a random
time, half from within at a random operation on files.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from entrenous.bundle import read_bundle
from entrenous.updates.fetch import DirectorySource
from entrenous.updates.refresh import Deployment, refresh
from entrenous.updates.retained import State, read_state
from entrenous_consent.errors import Missing
from entrenous_consent.policy import parse_policy
from tests.repository import BUNDLE, BUNDLE_PATH, POLICY_PATH, TENANT, Publisher, bundle_bytes, policy_bytes
from tests.shop import NOON

DAYS = (100, 103, 106, 95, 98, 110, 120, 91, 130, 90, 140)
"""The retention that each step's policy allows and its bundle asks for: wider, and narrower again."""

LONGEST = 0.03
"""Seconds until a kill from outside: about one refresh that takes everything."""

OPERATIONS = 220
"""Operations on files until a kill from inside: more than one refresh makes."""

FILES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.utime", "os.scandir"}

Pair = tuple[bytes, bytes | None]


def published(step: int) -> tuple[bytes, bytes]:
    """Return the bytes of a step's policy and bundle."""
    policy = policy_bytes(step + 1)
    for days in (b"30", b"90"):
        policy = policy.replace(b"retention_days = %s\n" % days, b"retention_days = %d\n" % DAYS[step])
    return policy, bundle_bytes(step + 1, retention=DAYS[step])


def chain(home: Path) -> tuple[bytes, list[Path]]:
    """Publish every step; return the trusted root, and the repository as it was at each."""
    publisher = Publisher(home / "repository")
    copies = []
    for step in range(len(DAYS)):
        policy, bundle = published(step)
        publisher.repository.add_policy(policy, publisher.keys["privacy"], now=publisher.now)
        signers = publisher.keys["models"]
        publisher.repository.add_bundle(bundle, signers, tenant=TENANT, now=publisher.now, research=True)
        publisher.publish()
        copies.append(publisher.copy(home / f"step-{step}"))
    return publisher.root, copies


@dataclass
class Expected:
    """What may serve: by step, before and after its bundle is taken."""

    taken: list[Pair]
    before: list[Pair]
    policies: list[bytes]

    @classmethod
    def of_steps(cls) -> Expected:
        files = [published(step) for step in range(len(DAYS))]
        policies = [sha256(policy).digest() for policy, _ in files]
        bundles = [sha256(bundle).digest() for _, bundle in files]
        before: list[Pair] = []
        for step, digest in enumerate(policies):
            permitted = [old for old in range(max(step - 4, 0), step) if DAYS[old] <= DAYS[step]]
            before.append((digest, bundles[permitted[-1]] if permitted else None))
        return cls(list(zip(policies, bundles, strict=True)), before, policies)


def serving(state: Path) -> Pair | None:
    """Return the digests of what serves, None before the first policy; what serves is permitted and whole."""
    try:
        found = read_state(state, now=NOON)
    except Missing:
        return None
    assert sha256(found.policy_bytes).digest() == found.policy.digest
    if found.bundle is None:
        return found.policy.digest, None
    assert sha256(found.bundle_bytes).digest() == found.bundle.digest
    manifest = read_bundle(found.bundle_bytes).manifest
    assert parse_policy(found.policy_bytes).permits(manifest.request()) == ()
    return found.policy.digest, found.bundle.digest


def run(state: Path, deployment: Deployment, copies: list[Path], first: int, operations: int) -> None:
    """Take step after step until the end comes; `operations` on files until it comes from inside, 0 for never."""
    left = operations

    def hook(event: str, _: object) -> None:
        nonlocal left
        if event in FILES:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    step = first
    while True:
        found = refresh(DirectorySource(copies[step]), state, deployment, now=NOON)
        assert found.refused is None, found.refused
        step = min(step + 1, len(copies) - 1)


def killed(chance: random.Random, state: Path, deployment: Deployment, copies: list[Path], first: int) -> None:
    """Fork an updater and see it killed."""
    operations = chance.randrange(1, OPERATIONS) if chance.random() < 0.5 else 0
    child = os.fork()
    if not child:
        try:
            run(state, deployment, copies, first, operations)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    if not operations:
        time.sleep(chance.uniform(0, LONGEST))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the updater ended by itself"
    assert os.WTERMSIG(status) == signal.SIGKILL


def half_files(state: Path) -> list[Path]:
    """Return what an updater had not finished: temporary files, and everything staged."""
    temporary = [path for path in state.rglob(".*.new") if path.is_file()]
    staged = [path for folder in state.glob("staging-*") for path in folder.rglob("*") if path.is_file()]
    return [*temporary, *staged]


def landed(before: Pair | None, after: Pair | None, left: bool, expected: Expected) -> str:
    """Say where a kill landed."""
    if after == before:
        return "before anything was taken" if not left else "while staging"
    if after is not None and after not in expected.taken:
        return "between policy and bundle"
    return "after both, still staged" if left else "after"


def main() -> None:
    home, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance, expected = random.Random(seed), Expected.of_steps()
    root, copies = chain(home)
    deployment = Deployment(root=root, tenant=TENANT, bundle=BUNDLE)
    where: Counter[str] = Counter()
    torn, chains, step, state = 0, 0, -1, home / "state-0"
    for _ in range(kills):
        before, floors = expected.taken[step] if step >= 0 else None, State(state).load().floors
        killed(chance, state, deployment, copies, step + 1)
        half = half_files(state)
        torn += any(path.name.endswith(".new") for path in half)
        for path in half:
            path.write_bytes(b"half a file")
        after, record = serving(state), State(state).load()
        reached = expected.policies.index(after[0]) if after else -1
        assert reached >= step
        allowed = [expected.taken[reached], expected.before[reached]] if after else [None]
        assert after in ([*allowed, before] if reached == step else allowed), (step, reached)
        for place, version in floors.items():
            assert record.floors[place] >= version, place
        if after is not None:
            assert record.floors[POLICY_PATH] == reached + 1
            assert record.floors.get(BUNDLE_PATH, 0) in (reached, reached + 1)
        for digest in (record.policy, *record.retained):
            assert not digest or sha256((state / "kept" / digest.hex()).read_bytes()).digest() == digest
        where[landed(before, after, bool(list(state.glob("staging-*"))), expected)] += 1
        step = max(reached, 0) if reached > step else min(step + 1, len(copies) - 1)
        found = refresh(DirectorySource(copies[step]), state, deployment, now=NOON)
        assert found.refused is None
        assert serving(state) == expected.taken[step]
        assert not list(state.glob("staging-*"))
        if step == len(copies) - 1:
            chains += 1
            step, state = -1, home / f"state-{chains}"
    print(json.dumps({"where": where, "torn": torn, "chains": chains}))


if __name__ == "__main__":
    main()
