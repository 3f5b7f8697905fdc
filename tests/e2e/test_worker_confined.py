"""The worker as `deploy/` installs it: nobody in particular, on a file system that is read-only but for state and keys,
with no home and no capability, where no page of memory is both written and run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from entrenous_edge.serve import _DRAIN_SECONDS
from tests.commands import declared
from tests.shop import Clock, Shop
from tests.worker import Running, configure, started

ALL = {"personalize": True, "history": True, "measure": True, "improve": True}
PROJECT = Path(__file__).parents[2]
UNIT = (PROJECT / "deploy" / "entrenous-worker.service").read_text("utf-8")
NOBODY = 10001
CONFINED = """\
set -eu
variable=$1 interpreter=$2 closed=$3; shift 3
mount --bind "$variable" "$variable"
if [ -n "$closed" ]; then  # an interpreter in somebody's home is shown where it is, and nothing else of that home
  aside=$(mktemp -d -p "$variable/..")
  mount --bind "$interpreter" "$aside"
  mount -t tmpfs -o mode=755 tmpfs "$closed"
  mkdir -p "$interpreter"
  mount --bind "$aside" "$interpreter"
fi
for point in $(awk '{ print $5 }' /proc/self/mountinfo); do
  case $point in "$variable" | /proc | /proc/* | /sys | /sys/* | /dev | /dev/*) continue ;; esac
  mount -o remount,ro,bind "$point"
done
mount -t tmpfs -o size=1m,mode=1777 tmpfs /var/tmp
mount -t proc -o hidepid=invisible proc /proc
cd /
exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all env -i "$@"
"""
"""What ProtectSystem=strict, StateDirectory, PrivateTmp, ProtectProc, User and NoNewPrivileges come to."""
STARTED = """\
import ctypes, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN (linux/prctl.h): MemoryDenyWriteExecute
from entrenous.cli import main
sys.exit(main())
"""


def command(home: Path, *, environment: dict[str, str] | None = None) -> list[str]:
    given = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SQLITE_TMPDIR": str(home / "var" / "state"),
    }
    setting = [f"{name}={value}" for name, value in (given | (environment or {})).items() if value]
    serve = [sys.executable, "-c", STARTED, "serve", "--config", str(home / "edge.toml")]
    base = Path(sys.base_prefix)
    closed = next((str(one) for one in reversed(base.parents) if not one.stat().st_mode & 0o001), "")
    given_to = ["confined", str(home / "var"), str(base), closed]
    confined = ["unshare", "--mount", "--propagation", "private", "bash", "-c", CONFINED, *given_to]
    return [*confined, *setting, *serve]


@pytest.fixture
def home() -> Iterator[Path]:
    """A configuration, its secrets and its two directories, of a user that owns nothing else."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("needs root, setpriv and unshare")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a mount namespace")
    with tempfile.TemporaryDirectory(prefix="entrenous-confined-", dir="/tmp") as made:  # others may look in from here
        home = Path(made)
        home.chmod(0o755)
        configure(Shop(home, Clock()), state="var/state", keys="var/keys")
        for name in ("state", "keys"):
            (home / "var" / name).mkdir(0o700, parents=True)
        for name in ("var/state", "var/keys", "admin.token", "shop.key"):
            os.chown(home / name, NOBODY, NOBODY)
        yield home


def confined(home: Path, *, environment: dict[str, str] | None = None) -> AbstractContextManager[Running]:
    return started(command(home, environment=environment), home)


def status(process: int, word: str) -> str:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())[word]


def test_it_serves_sweeps_and_stops_where_nothing_else_can_be_written(home: Path):
    with confined(home) as worker:
        process = worker.process.pid
        assert status(process, "Uid").split() == [str(NOBODY)] * 4
        assert status(process, "NoNewPrivs") == "1"
        assert int(status(process, "CapBnd"), 16) == int(status(process, "CapEff"), 16) == 0
        mounts = [line.split() for line in Path(f"/proc/{process}/mountinfo").read_text().splitlines()]
        root = next(fields for fields in mounts if fields[4] == "/")
        assert "ro" in root[5].split(",")
        assert worker.ask("GET", "/readyz").json == {"status": "ready", "policy": 1, "bundle": 1}
        assert worker.consent("ada", ALL).json == {"accepted": True}
        assert worker.decide("ada")["reason"] in ("TARGETING_MATCH", "SPLIT")
        assert worker.ask("POST", "/updates", admin=True).json["accepted"]
        assert worker.ask("POST", "/sweep", admin=True).json == {"accepted": True, "rows": 0}
        assert worker.ask("DELETE", "/v1/visitor", headers=worker.token("ada")).status == 200
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < _DRAIN_SECONDS + 1
    assert worker.log() == ""
    left = {path.relative_to(home).parts[:2] for path in home.rglob("*") if path.stat().st_uid == NOBODY}
    assert left == {("var", "state"), ("var", "keys"), ("admin.token",), ("shop.key",)}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (home / "var").rglob("*") if path.name != "lock")


def test_a_large_store_is_swept_only_where_sqlite_is_told_a_place(home: Path):
    """It is rebuilt by way of a file, once it does not fit into SQLite's cache: 2 MB."""
    for told in (True, False):
        with confined(home, environment={} if told else {"SQLITE_TMPDIR": ""}) as worker:
            store = home / "var" / "state" / "visitors.db"
            number = 0
            while store.stat().st_size < 5 << 19:
                for one in range(number, number + 250):
                    worker.consent(f"guest-{one}", ALL)
                number += 250
                worker.ask("POST", "/sweep", admin=True) if told else None
            swept = worker.ask("POST", "/sweep", admin=True)
            if told:
                assert swept.json == {"accepted": True, "rows": 0}
            else:
                assert swept.status == 409
                assert "visitors.db: the disk is full" in swept.json["message"], "SQLite's own place is, of 1 MB"


def test_a_request_under_way_is_finished_when_it_is_told_to_end(home: Path):
    """The rest of a body that came after SIGTERM is still read, and answered."""
    import socket

    with confined(home) as worker:
        worker.consent("ada", ALL)
        body = b'{"decisions": ["promotion"], "visitor": "ada"}'
        head = f"POST /v1/decide HTTP/1.1\r\nHost: x\r\nAuthorization: {worker.keys['Authorization']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as half:
            half.sendall(head.encode() + body[:10])
            time.sleep(0.2)
            worker.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            half.sendall(body[10:])
            answer = b""
            while more := half.recv(1 << 16):
                answer += more
        assert b" 200 " in answer.split(b"\r\n")[0]
        assert worker.process.wait(_DRAIN_SECONDS + 2) == 0


def allowed() -> set[str]:
    """The system calls that the unit's filter lets through, as systemd itself lists them."""

    def of(group: str) -> set[str]:
        told = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True).stdout
        names = {line.split("#")[0].strip() for line in told.splitlines()[1:]}
        calls = {name for name in names if name and not name.startswith("@")}
        return calls.union(*(of(name) for name in names if name.startswith("@")))

    kept: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.+)$", UNIT, re.MULTILINE):
        groups = set().union(*(of(one) for one in line.removeprefix("~").split()))
        kept = kept - groups if line.startswith("~") else kept | groups
    return kept


def test_it_makes_no_system_call_that_the_unit_refuses(home: Path):
    if not shutil.which("strace") or not shutil.which("systemd-analyze"):
        pytest.skip("needs strace and systemd-analyze")
    os.chown(home / "var", NOBODY, NOBODY)
    trace = home / "var" / "trace"
    inner = command(home)
    at = inner.index(sys.executable)
    traced = [*inner[:at], "strace", "-f", "-qq", "-o", str(trace), *inner[at:]]
    with (home / "worker.log").open("a") as log:
        process = subprocess.Popen(traced, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving on "), (home / "worker.log").read_text()
    public, admin = line.removeprefix("serving on ").strip().split(", admin on ")
    worker = Running(home, process, int(public.rpartition(":")[2]), int(admin.rpartition(":")[2]))
    worker.consent("ada", ALL)
    worker.decide("ada")
    for path in ("/updates", "/sweep", "/flush", "/release"):
        assert worker.ask("POST", path, admin=True).status == 200
    worker.ask("DELETE", "/v1/visitor", headers=worker.token("ada"))
    (traced_one,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(traced_one), signal.SIGTERM)  # strace itself would go without it
    assert process.wait(60) == 0
    process.stdout.close()
    text = trace.read_text()
    served = text[text.index("execve(") :]
    made = set(re.findall(r"^\d+ +(\w+)\(", served, re.MULTILINE))
    assert {"openat", "accept4", "futex"} <= made
    assert made - allowed() == set()
    families = set(re.findall(r"\bsocket(?:pair)?\((AF_\w+|PF_\w+)", served))
    named = set(re.findall(r"^RestrictAddressFamilies=(.+)$", UNIT, re.MULTILINE)[0].split())
    assert families <= named


def test_the_command_that_deploys_is_declared():
    assert "serve" in {point.name for point in declared(group="entrenous.commands")}
