"""The whole life of a consent, in two processes with restarts and kills, beside a model of what is granted.

After every step both processes are asked for a decision on everybody: what is not granted at that moment is not read,
written or used in either, and a withdrawal holds at that very next decision.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.property.life import Life
from tests.shop import NOON, Clock, Shop

from entrenous.bundle import encode_bundle, read_bundle
from entrenous_consent.keys import FileKeyProvider

DAY = 86_400
LIFETIME, EPOCH = 180 * DAY, 400 * DAY
LAST = NOON + 3640 * DAY
"""Ten years, in which bundle and signatures hold: what comes when they do not is another test's."""
PURPOSES = ("history", "improve", "measure", "personalize")
NAMES = ("cookie-1", "account-7")
EVENTS = {"view_item": "personalize", "purchase": "history"}

processes = st.integers(0, 1)
names = st.sampled_from(NAMES)
some = st.lists(st.sampled_from(PURPOSES), unique=True)
choices = st.one_of(st.just(list(PURPOSES)), some)
steps = st.sampled_from([1, 60, DAY, 30 * DAY, LIFETIME - 1, LIFETIME, EPOCH - 10 * DAY])


class Process:
    """A `Life` in a process of its own, begun again after it died."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[str] | None = None

    def ask(self, now: int, verb: str, *arguments: Any) -> Any:
        if self._running is None:
            command = [sys.executable, "-m", "tests.property.life"]
            root = Path(__file__).parents[2]
            self._running = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
            )
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._running.stdin.write(json.dumps([now, verb, *arguments]) + "\n")
        self._running.stdin.flush()
        line = self._running.stdout.readline()
        if verb == "die":
            assert line == ""
            self.end()
            return [None, []]
        return json.loads(line)

    def end(self) -> None:
        if self._running is not None:
            for pipe in (self._running.stdin, self._running.stdout):
                assert pipe is not None
                pipe.close()
            self._running.wait(30)
            self._running = None


OTHER = Process()


def teardown_module() -> None:
    OTHER.end()


@dataclass
class Person:
    """A visitor as the model knows them; `until` is when even a refusal is forgotten, `epoch` the one into which what
    is kept of them moved last, as far as the model knows."""

    grants: dict[str, tuple[int, int]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    until: int = 0
    epoch: int = 0


class ConsentLife(RuleBasedStateMachine):
    """Grants, refusals, withdrawals, objections, expiries, raised versions, minors, epochs, links, restarts, kills."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        home = Path(self.folder.name)
        self.shop = Shop(home, Clock(), provider=FileKeyProvider(home / "root.key"))
        read = read_bundle(self.shop.bundle.read_bytes())
        lasting = replace(read.manifest, expires=LAST)
        self.shop.bundle.write_bytes(encode_bundle(lasting, read.models))
        self.shop.publish()
        self.processes: list[Life | Process] = [Life(), OTHER]
        for process in (0, 1):
            self.ask(process, "open", self.folder.name)
        self.people = {name: Person() for name in NAMES}
        self.versions = dict.fromkeys(PURPOSES, 1)

    @property
    def now(self) -> int:
        return self.shop.clock.now

    def granted(self, name: str) -> set[str]:
        person = self.people[name]
        if self.now >= person.until:
            return set()
        return {
            purpose
            for purpose, (version, until) in person.grants.items()
            if version == self.versions[purpose] and self.now < until
        }

    def refused(self, name: str) -> set[str]:
        return self.people[name].refused if self.now < self.people[name].until else set()

    def moving(self, name: str) -> set[str]:
        """Return what may be touched because a new epoch has begun: what they granted moves into it, as a whole."""
        person = self.people[name]
        epoch, before = self.now // EPOCH, person.epoch
        person.epoch = epoch
        return self.granted(name) if epoch != before else set()

    def ask(self, process: int, verb: str, *arguments: Any, touching: set[str] | None = None) -> Any:
        """Have one process do it; `touching`: the purposes that may be read or written meanwhile, none by default."""
        answer, touched = self.processes[process].ask(self.now, verb, *arguments)
        assert set(touched) <= (touching or set()), (verb, touched)
        return answer

    # What happens

    @rule(process=processes, name=names, granted=choices)
    def choose(self, process: int, name: str, granted: list[str]) -> None:
        before, wanted = self.granted(name), set(granted)
        asked = {purpose: purpose in wanted for purpose in PURPOSES}
        told = self.ask(process, "consent", name, asked, touching=before | wanted)
        assert told == [True, ""]
        self.people[name] = Person(
            grants={purpose: (self.versions[purpose], self.now + LIFETIME) for purpose in wanted},
            refused=set(PURPOSES) - wanted,
            until=self.now + LIFETIME,
            epoch=self.now // EPOCH,
        )

    @rule(process=processes, name=names, purposes=some)
    def object(self, process: int, name: str, purposes: list[str]) -> None:
        assert self.ask(process, "object", name, purposes, touching=self.granted(name)) == [True, ""]
        person = self.people[name]
        known = self.now < person.until
        self.people[name] = Person(
            grants={one: grant for one, grant in person.grants.items() if known and one not in purposes},
            refused=(person.refused if known else set()) | set(purposes),
            until=self.now + LIFETIME,
            epoch=self.now // EPOCH,
        )

    @rule(process=processes, name=names, verb=st.sampled_from(["erase", "minor"]))
    def forget(self, process: int, name: str, verb: str) -> None:
        assert self.ask(process, verb, name) == ([True, ""] if verb == "erase" else "minor")
        self.people[name] = Person()

    @rule(process=processes, name=names, event=st.sampled_from(sorted(EVENTS)))
    def observe(self, process: int, name: str, event: str) -> None:
        granted = self.granted(name)
        cause = self.ask(process, "observe", name, event, touching=granted)
        assert cause == ("" if EVENTS[event] in granted else "consent_missing")

    @rule(process=processes, name=names)
    def correct(self, process: int, name: str) -> None:
        granted = self.granted(name)
        changed = self.ask(process, "correct", name, touching=granted)
        assert {one.partition("_")[0] for one in changed} <= {
            {"personalize": "visit", "history": "bought"}.get(one, "") for one in granted
        }

    @rule(process=processes, name=names)
    def export(self, process: int, name: str) -> None:
        granted = self.granted(name)
        assert self.ask(process, "export", name, touching=granted) == sorted(granted)

    @rule(process=processes, device=names, account=names)
    def link(self, process: int, device: str, account: str) -> None:
        both = self.granted(device) & self.granted(account)
        brought = self.granted(device) & {"personalize"}
        moved = self.moving(device) | self.moving(account)
        cause, used = self.ask(process, "link", device, account, touching=both | brought | moved)
        self.used_what_is_granted(cause, used, both)

    @rule(process=processes, purpose=st.sampled_from(PURPOSES))
    def widen(self, process: int, purpose: str) -> None:
        """The DPO raises a purpose's consent version, and one of the processes hears of it."""
        self.versions[purpose] += 1
        text = self.shop.policy.read_text()
        head, section, tail = text.partition(f"[purposes.{purpose}]\n")
        raised = f"consent_version = {self.versions[purpose]}"
        tail = re.sub(r"^consent_version = \d+$", raised, tail, count=1, flags=re.MULTILINE)
        self.shop.policy.write_text(head + section + tail)
        self.shop.publish()
        assert self.ask(process, "refresh") == ""

    @rule(seconds=steps)
    def wait(self, seconds: int) -> None:
        if self.now + seconds < LAST:
            self.shop.clock.now += seconds

    @rule(process=processes)
    def flush(self, process: int) -> None:
        self.ask(process, "flush", touching=set().union(*map(self.granted, NAMES)))

    @rule(process=processes)
    def sweep(self, process: int) -> None:
        self.ask(process, "sweep")

    @rule(process=processes, killed=st.sampled_from([False] * 7 + [True]))
    def restart(self, process: int, killed: bool) -> None:
        if killed and process == 1:
            self.ask(1, "die")
        else:
            self.ask(process, "close", touching=set().union(*map(self.granted, NAMES)))
        self.ask(process, "open", self.folder.name)

    # What holds

    @invariant()
    def both_processes_do_what_is_granted_and_no_more(self) -> None:
        for process in (0, 1):
            for name in NAMES:
                granted = self.granted(name)
                cause, used = self.ask(process, "decide", name, touching=granted)
                self.used_what_is_granted(cause, used, granted)
                asked = set(PURPOSES) - granted - self.refused(name)
                told = self.ask(process, "choices", name)
                assert told == [sorted(granted), sorted(self.refused(name)), sorted(asked)]

    def used_what_is_granted(self, cause: str, used: list[str], granted: set[str]) -> None:
        if "personalize" not in granted:
            assert (cause, used) == ("consent_missing", [])
        else:
            assert cause in ("", "holdout", "capped")
            assert {"personalize"} | granted & {"history"} <= set(used) <= granted

    def teardown(self) -> None:
        for process in (0, 1):
            self.ask(process, "close", touching=set().union(*map(self.granted, NAMES)))
        self.folder.cleanup()


ConsentLife.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestConsentLife = ConsentLife.TestCase
