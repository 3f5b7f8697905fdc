"""`entrenous doctor --config`: each thing that is wrong on a host has its line, and nothing is touched."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.commands import main
from tests.shop import DAY, NOON, Clock, Shop
from tests.worker import configure

from entrenous import Client
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.updates.retained import State
from entrenous_consent.keys import FileKeyProvider, Keyring
from entrenous_edge.config import Address, read_config
from entrenous_edge.doctor import examine
from entrenous_edge.doors import openings, ports
from entrenous_edge.findings import Finding, told
from entrenous_edge.host import directories, file_system, limits, sorting_directory, user

ALL = {"personalize": True, "history": True, "measure": True, "improve": True}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration on a shop whose worker ran once and holds a visitor."""
    return used(Shop(tmp_path, Clock()))


def used(shop: Shop, **changes: object) -> Path:
    path = configure(shop, **({"listen": f"127.0.0.1:{free()}", "admin": f"127.0.0.1:{free()}"} | changes))
    config = read_config(path).client(lambda: NOON)
    with Client.open(replace(config, updates_clock=lambda: NOON, sweep_seconds=0)) as client:
        assert client.visitor("ada").consent(ALL).accepted
    return path


def shown_at(path: Path, moment: int = NOON) -> None:
    """Let the publisher's files be of the moment that this shop lives in."""
    for one in (path.parent / "repository" / "metadata").iterdir():
        os.utime(one, (moment, moment))


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def said(path: Path, verdict: str, now: int = NOON) -> list[str]:
    shown_at(path)
    return [str(one)[6:] for one in examine(path, now) if one.verdict == verdict]


def the(lines: list[str], check: str) -> str:
    (found,) = [line for line in lines if line.startswith(f"{check:<10} ")]
    return found


def files(home: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(one.relative_to(home)): (one.read_bytes(), one.stat().st_mode, one.stat().st_mtime_ns)
        for one in home.rglob("*")
        if one.is_file()
    }


def test_a_host_in_order_has_nothing_to_mend_and_is_left_as_it_was(path: Path):
    shown_at(path)
    before = files(path.parent)
    assert said(path, "mend") == []
    assert files(path.parent) == before
    good = said(path, "ok")
    assert "opens under its root key" in the(good, "keyring")
    assert "format 3" in the(good, "store")
    assert "opens under these keys" in the(good, "store")
    assert "its signatures verify" in the(good, "publisher")
    assert the(good, "models").endswith("1 open and score")
    assert "demo_promotions version 1, permitted" in the(good, "bundle")


def test_before_the_first_start_it_makes_nothing(tmp_path: Path):
    path = configure(Shop(tmp_path, Clock()))
    shown_at(path)
    before = files(tmp_path)
    assert said(path, "mend") == []
    assert files(tmp_path) == before
    assert not (tmp_path / "edge-state").exists()
    good = said(path, "ok")
    for check in ("state", "keys", "keyring", "store"):
        assert "is made at the first start" in the(good, check)


def test_the_command_prints_a_line_a_check_and_ends_with_1_if_there_is_something_to_mend(path: Path, capsys):
    (path.parent / "repository" / "metadata" / "timestamp.json").write_text("<html>it works</html>")
    assert main(["doctor", "--config", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {line[:5] for line in lines} == {"ok   ", "warn ", "mend "}
    assert main(["doctor", "--config", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["mend"] == sum(line.startswith("mend") for line in lines)
    assert [Finding(**one).check for one in told["findings"]] == [line[6:16].strip() for line in lines]


def test_without_a_configuration_it_is_the_apps_as_before(path: Path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", "--source", "repository"])
    assert "the following arguments are required: --root, --tenant" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", "--json"])


# Configuration and secrets


def test_a_configuration_that_can_not_be_is_the_one_finding(path: Path):
    path.write_text(path.read_text() + 'colour = "red"\n')
    (found,) = map(str, examine(path))
    assert found.startswith("mend  config     edge.toml: colour: is not a known key — remove it")


def test_a_secret_that_others_may_read_and_one_that_is_gone(path: Path):
    (path.parent / "shop.key").chmod(0o640)
    assert "shop.key: others may read it — chmod 600" in the(said(path, "mend"), "config")
    (path.parent / "shop.key").unlink()
    assert "shop.key: is not there" in the(said(path, "mend"), "config")


def test_a_configuration_that_may_not_be_read(path: Path, monkeypatch):
    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("entrenous_edge.doctor.read_config", refused)
    (found,) = examine(path)
    assert (found.verdict, found.what) == ("mend", "can't be read (PermissionError)")


def test_a_key_that_the_documents_print_is_warned_of(path: Path):
    assert "holds a key that the documents print" in "".join(said(path, "warn"))


@pytest.mark.parametrize(
    ("origin", "verdict"),
    [
        ("https://shop.example", ""),
        ("http://localhost:3000", ""),
        ("https://Shop.example", "mend"),
        ("https://shop.example:443", "mend"),
        ("https://*.shop.example", "mend"),
        ("http://shop.example", "warn"),
    ],
)
def test_an_origin_that_no_browser_sends(path: Path, origin: str, verdict: str):
    config = replace(read_config(path), allow_origins=(origin,), publishable_keys=("k" * 16,))
    assert [one.verdict for one in openings(config) if one.verdict != "ok"] == ([verdict] if verdict else [])


# The host


def test_state_and_keys_within_each_other(path: Path):
    config = read_config(path)
    for change in ({"keys": config.state / "keys"}, {"state": config.keys / "state"}):
        found = [one for one in directories(replace(config, **change)) if one.verdict == "mend"]
        assert [one.what for one in found] == ["lies within the other of state and keys"]


def test_a_directory_that_is_a_file_and_one_that_others_can_open(path: Path):
    config = read_config(path)
    found = [one for one in directories(replace(config, keys=path)) if one.verdict == "mend"]
    assert "is no directory" in [one.what for one in found]
    config.state.chmod(0o755)
    found = [one for one in directories(config) if one.check == "state"]
    assert [one.verdict for one in found] == ["warn"]
    assert found[0].remedy == f"chmod 700 {config.state}"


MOUNTS = """\
22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv/shared rw - nfs4 10.0.0.1:/x rw
31 22 0:41 / /srv/with\\040space rw,noexec master:3 - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [("/srv/shared/state", "nfs4"), ("/srv/sharedness", "ext4"), ("/srv/with space/a", "tmpfs"), ("/", "ext4")],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(place: str, kind: str):
    assert file_system(Path(place), MOUNTS) == kind
    assert file_system(Path(place), "") == ""


def test_no_room_left_is_to_be_mended(path: Path, monkeypatch):
    full = os.statvfs_result((4096, 4096, 10_000, 9, 9, 0, 0, 0, 0, 255))
    monkeypatch.setattr("entrenous_edge.host.os.statvfs", lambda _: full)
    assert "state has 0 MiB left" in the(said(path, "mend"), "room")
    assert "no room to rebuild the store" in the(said(path, "warn"), "sweep")


def test_where_a_store_is_rebuilt_is_what_sqlite_takes(tmp_path: Path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    assert sorting_directory({"SQLITE_TMPDIR": str(one), "TMPDIR": str(other)}) == one
    assert sorting_directory({"SQLITE_TMPDIR": str(tmp_path / "gone"), "TMPDIR": str(other)}) == other
    monkeypatch.setattr("entrenous_edge.host.os.access", lambda *_: False)
    assert sorting_directory({"SQLITE_TMPDIR": str(one)}) is None


def test_as_whom_it_runs(path: Path):
    config, owner = read_config(path), os.geteuid()
    (stranger,) = user(config, owner + 4321)
    assert (stranger.verdict, "belongs to" in stranger.what) == ("mend", True)
    os.chown(config.state, owner + 4321, -1) if owner == 0 else pytest.skip("needs root to give a directory away")
    (rooted,) = user(config, 0)
    assert (rooted.verdict, rooted.remedy.startswith("run it as the worker's user: runuser -u")) == ("warn", True)
    (own,) = user(config, owner + 4321)
    assert own.verdict == "ok"


def test_few_files_are_warned_of(monkeypatch):
    monkeypatch.setattr("entrenous_edge.host.resource.getrlimit", lambda _: (1024, 4096))
    (found,) = limits()
    assert (found.verdict, found.what) == ("warn", "1024 may be open here")


# What it holds


def test_a_root_key_that_is_gone_is_said_and_none_is_made(path: Path):
    key = path.parent / "edge-keys" / "root.key"
    key.unlink()
    assert "is not there, and a keyring is — restore it" in the(said(path, "mend"), "keyring")
    assert not key.exists()


def test_another_root_key_and_another_keyring(path: Path):
    keys = path.parent / "edge-keys"
    kept = (keys / "root.key").read_bytes()
    (keys / "root.key").write_bytes(b"x" * 32)
    assert "does not open under this root key" in the(said(path, "mend"), "keyring")
    (keys / "root.key").write_bytes(kept)
    (keys / "keyring").unlink()
    assert "there is no keyring" in the(said(path, "mend"), "store")
    Keyring(keys / "keyring", FileKeyProvider(keys / "root.key"))
    assert "opens under this keyring and tenant" in the(said(path, "mend"), "store")


def test_a_store_that_is_none_is_damaged_or_of_another_format(path: Path):
    store = path.parent / "edge-state" / "visitors.db"
    kept = store.read_bytes()
    for pragma, words in (("user_version=99", "is of format 99"), ("application_id=7", "of another program")):
        file = sqlite3.connect(store)
        file.execute(f"pragma {pragma}")
        file.commit()
        file.close()
        assert words in the(said(path, "mend"), "store")
        store.write_bytes(kept)
    store.write_bytes(b"not a store at all" * 999)
    assert "is damaged or not a store" in the(said(path, "mend"), "store")


def test_a_store_left_by_a_killed_worker_is_read_with_its_journal(path: Path):
    store = path.parent / "edge-state" / "visitors.db"
    writer = sqlite3.connect(store, isolation_level=None)
    writer.execute("pragma journal_mode=wal").fetchall()
    writer.execute("insert into logs (log, entry) values ('x', x'00')")
    shown_at(path)
    before = files(path.parent)
    assert "opens under these keys" in the(said(path, "ok"), "store")
    after = files(path.parent)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed <= {"edge-state/visitors.db-shm"}, "every reader marks its place there"
    writer.close()


# What the publisher shows


def test_a_publisher_that_serves_garbage_or_nothing(path: Path):
    timestamp = path.parent / "repository" / "metadata" / "timestamp.json"
    timestamp.write_text("<html>it works</html>")
    assert "timestamp" in the(said(path, "mend"), "publisher") or "repository" in the(said(path, "mend"), "publisher")
    assert "demo_promotions version 1" in the(said(path, "ok"), "bundle"), "what was taken before still serves"
    timestamp.unlink()
    the(said(path, "mend"), "publisher")


def test_what_ends_soon_is_warned_of_and_what_ended_is_to_be_mended(tmp_path: Path):
    shop = Shop(tmp_path, Clock(), lasting=20 * DAY)
    path = used(shop)
    soon = said(path, "warn", NOON + 10 * DAY)
    for role in ("models", "privacy", "targets"):
        assert any(line.startswith(f"signatures metadata/{role}.json: {role} ends in 10 days") for line in soon), role
    assert not any("metadata/snapshot" in line for line in soon)
    assert "has expired" in the(said(path, "mend", NOON + 21 * DAY), "publisher")


def test_a_bundle_that_ends_soon_and_one_that_ended(tmp_path: Path):
    shop = Shop(tmp_path, Clock())
    bundle = read_bundle(shop.bundle.read_bytes())
    shop.bundle.write_bytes(encode_bundle(replace(bundle.manifest, expires=NOON + 10 * DAY), bundle.models))
    path = used(shop)
    assert "ends in 10 days — have a newer version trained" in the(said(path, "warn"), "bundle")
    ended = [line for line in said(path, "mend", NOON + 11 * DAY) if line.startswith("bundle")]
    assert "has expired" in ended[0]
    assert "none may serve" in ended[1]


def test_a_newer_bundle_is_looked_at_and_not_taken(path: Path):
    shop = Shop(path.parent, Clock())
    shop.release(bundle=2)
    record = (path.parent / "edge-state" / "updates" / "record").read_bytes()
    assert "demo_promotions version 2" in the(said(path, "ok"), "bundle")
    assert (path.parent / "edge-state" / "updates" / "record").read_bytes() == record


def test_a_publisher_not_heard_for_long_is_stale(path: Path):
    (path.parent / "repository" / "metadata" / "timestamp.json").unlink()
    assert "decisions are STALE in 4 days" in the(said(path, "warn", NOON + 10 * DAY), "policy")
    assert "the publisher was last" in the(said(path, "mend", NOON + 20 * DAY), "policy")


def test_a_bundle_that_was_rolled_back_here(path: Path):
    state = State(path.parent / "edge-state" / "updates")
    record = state.load()
    state.save(replace(record, rejected=record.retained, retained=()))
    found = [line for line in said(path, "mend") if line.startswith("bundle")]
    assert "was rejected here" in found[0]


# The clock


def test_a_clock_that_is_not_the_publishers(path: Path):
    shown_at(path, NOON + 900)
    (found,) = [one for one in examine(path, NOON) if one.verdict == "mend"]
    assert (found.check, found.what) == ("clock", "is 900 s behind the publisher's")


def test_a_clock_set_back_and_one_that_ran_ahead(path: Path):
    assert "before the last visit to the publisher" in the(said(path, "mend", NOON - DAY), "clock")
    keys = path.parent / "edge-keys"
    Keyring(keys / "keyring", FileKeyProvider(keys / "root.key")).next_generation(NOON + DAY)
    assert "before the keyring's newest generation" in "".join(said(path, "mend"))


class Publisher(SimpleHTTPRequestHandler):
    """A web server whose clock is some seconds off."""

    ahead = 0

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() + self.ahead if timestamp is None else timestamp)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("ahead", "words"), [(0, ""), (900, "s behind the publisher's"), (-900, "s ahead of")])
def test_a_clock_that_is_not_the_web_servers(tmp_path: Path, ahead: int, words: str):
    shop = Shop(tmp_path, Clock(int(time.time())))
    handler = partial(type("Off", (Publisher,), {"ahead": ahead}), directory=str(shop.repository))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = configure(shop, source=f"http://127.0.0.1:{server.server_port}")
        found = [one for one in examine(path) if one.verdict == "mend"]
        server.shutdown()
    assert [one.check for one in found] == (["clock"] if words else [])
    assert all(words in one.what for one in found)


# Ports and collector


def test_a_port_that_something_else_holds(path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = replace(read_config(path), listen=Address("127.0.0.1", taken.getsockname()[1]))
        taken.settimeout(0.01)
        found = next(ports(config))
    assert (found.verdict, found.what) == ("mend", "is held by something else")


def test_the_admin_token_is_shown_to_nobody_but_a_worker(path: Path):
    """Whoever else has its port is asked without it first."""
    heard: list[bytes] = []

    def listen(taken: socket.socket) -> None:
        with taken.accept()[0] as connection:
            heard.append(connection.recv(4096))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        thread = threading.Thread(target=listen, args=(taken,))
        thread.start()
        config = replace(read_config(path), admin=Address("127.0.0.1", taken.getsockname()[1]))
        found = [one for one in ports(config) if one.check == "admin"]
        thread.join()
    assert [one.what for one in found] == ["is held by something else"]
    assert b"GET /metrics" in heard[0]
    assert b"uthorization" not in heard[0]


def test_ports_that_others_reach_are_warned_of(path: Path):
    config = replace(read_config(path), listen=Address("0.0.0.0", free()), admin=Address("0.0.0.0", free()))
    warned = [one for one in ports(config) if one.verdict == "warn"]
    assert [one.check for one in warned] == ["listen", "admin"]
    assert "TLS" in warned[0].remedy
    one = free()
    (same,) = ports(replace(config, listen=Address("0.0.0.0", one), admin=Address("0.0.0.0", one)))
    assert same.verdict == "mend"


def test_a_collector_that_does_not_answer_is_warned_of_alone(path: Path):
    path.write_text(path.read_text() + f'collector = "http://127.0.0.1:{free()}/v1/reports"\n')
    assert said(path, "mend") == []
    assert any("does not answer" in line for line in said(path, "warn"))


# And whatever else


@pytest.mark.parametrize("error", [ValueError("customer-42"), OSError("customer-42")])
def test_a_fault_in_one_check_is_told_without_its_words_and_stops_no_other(error: Exception):
    def broken() -> list[Finding]:
        raise error

    check: Callable[[], list[Finding]] = broken
    (found,) = told("store", check)
    assert found.verdict == "mend"
    assert "customer-42" not in str(found)


def test_the_checks_and_keys_that_formats_names_are_those_there_are(path: Path):
    formats = (Path(__file__).parents[2] / "docs" / "formats.md").read_text("utf-8")
    section = formats.partition("## Findings of doctor\n")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith("| `check`")]
    named = set(re.findall(r"`(\w+)`", row)) - {"check"}
    rooms = Path(__file__).parents[2] / "edge_worker" / "entrenous_edge"
    code = "".join((rooms / f"{name}.py").read_text("utf-8") for name in ("doctor", "doors", "holdings", "host"))
    told_in_code = set(re.findall(r'(?:ok|warn|mend)\(\s*"(\w+)"', code)) | {"state", "keys", "listen", "admin"}
    assert named == told_in_code
    assert {one.check for one in examine(path, NOON)} <= named
    keys = {
        word
        for line in section.splitlines()
        if line.startswith("| `")
        for word in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert keys == set(Finding.__dataclass_fields__)
