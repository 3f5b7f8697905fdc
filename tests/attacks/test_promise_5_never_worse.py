"""Promise 5, never worse than before: nothing old, expired, broken or forbidden serves, and the policy comes first."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tests.repository import (
    BUNDLE_PATH,
    DAY,
    POLICY_PATH,
    Publisher,
    Runtime,
    bundle_bytes,
    meta_of,
    pair,
    policy_bytes,
)
from tests.shop import NOON

from entrenous.updates.fetch import DirectorySource, HttpSource, Limits
from entrenous.updates.retained import Busy, read_state, reject
from entrenous_consent.errors import Forbidden, Malformed, Missing, Refusal, Unauthentic, Unavailable
from entrenous_consent.policy import POLICY_LIMIT

Shop = tuple[Publisher, Runtime]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return pair(tmp_path)


def newest(publisher: Publisher, role: str) -> Path:
    name = "timestamp.json" if role == "timestamp" else f"{publisher.signed(role).version}.{role}.json"
    return publisher.directory / "metadata" / name


def point_at(publisher: Publisher, **versions: int) -> None:
    """Sign a snapshot and a timestamp, as a thief of both online keys, that name these versions of a role."""

    def change(signed: Any) -> None:
        for role, version in versions.items():
            data = (publisher.directory / "metadata" / f"{version}.{role}.json").read_bytes()
            signed.meta[f"{role}.json"] = meta_of(data, version)

    publisher.forge("snapshot", change)
    publisher.stamp()


# Roll-back


def test_an_old_mirror(shop: Shop, tmp_path: Path):
    publisher, runtime = shop
    old = publisher.copy(tmp_path / "mirror")
    publisher.release(2)
    runtime.refresh()
    runtime.source = DirectorySource(old)
    runtime.refuses(Unauthentic, "another version")
    assert runtime.serving() == (1, 2)


def test_a_snapshot_rolled_back_by_a_thief_of_the_timestamp_key(shop: Shop):
    publisher, runtime = shop
    old = newest(publisher, "snapshot").read_bytes()
    version = publisher.signed("snapshot").version
    publisher.release(2)
    runtime.refresh()

    def back(signed: Any) -> None:
        signed.snapshot_meta = meta_of(old, version)

    publisher.forge("timestamp", back)
    runtime.refuses(Unauthentic, "another version")


@pytest.mark.parametrize("role", ["targets", "models", "privacy"])
def test_metadata_rolled_back_by_a_thief_of_both_online_keys(shop: Shop, role: str):
    publisher, runtime = shop
    version = publisher.signed(role).version
    publisher.forge(role)
    publisher.publish()
    runtime.refresh()
    point_at(publisher, **{role: version})
    runtime.refuses(Unauthentic, "another version")


@pytest.mark.parametrize("role", ["models", "privacy"])
def test_a_target_rolled_back_by_its_own_role(shop: Shop, role: str):
    publisher, runtime = shop
    publisher.policy(2)
    publisher.release(2)
    runtime.refresh()
    path, data = (BUNDLE_PATH, bundle_bytes(1)) if role == "models" else (POLICY_PATH, policy_bytes(1))
    publisher.forge(role, lambda signed: publisher.list_target(signed, path, data, 1))
    publisher.publish()
    runtime.refuses(Unauthentic, "under the floor 2")
    assert runtime.serving() == (2, 2)


def test_a_metadata_cache_that_was_wiped_does_not_wipe_the_floors(shop: Shop, tmp_path: Path):
    publisher, runtime = shop
    old = publisher.copy(tmp_path / "mirror")
    publisher.policy(2)
    publisher.release(2)
    runtime.refresh()
    served = runtime.digests()
    shutil.rmtree(runtime.directory / "metadata")
    runtime.source = DirectorySource(old)
    with pytest.raises(Unauthentic, match="under the floor"):
        runtime.refresh()
    assert runtime.serving() == (2, 2)
    assert runtime.digests() == served


@pytest.mark.parametrize("role", ["root", "targets", "models", "privacy"])
def test_a_role_behind_a_wiped_cache(shop: Shop, tmp_path: Path, role: str):
    """The targets are the same, so that nothing but the role's own version tells the old mirror."""
    publisher, runtime = shop
    old = publisher.copy(tmp_path / "mirror")
    publisher.forge(role)
    publisher.publish()
    assert runtime.refresh().refused is None
    served = runtime.digests()
    shutil.rmtree(runtime.directory / "metadata")
    runtime.source = DirectorySource(old)
    try:
        refusal = runtime.refresh().refused
    except Refusal as error:
        refusal = error
    assert type(refusal) is Unauthentic
    assert (refusal.place, "under the floor" in refusal.what) == (role, True)
    assert runtime.digests() == served


@pytest.mark.parametrize(
    ("place", "floor"),
    [("root", 2), ("timestamp", 9), ("snapshot", 9), ("targets", 2), ("privacy", 3), (POLICY_PATH, 2)],
)
def test_a_wiped_state_and_an_old_repository(shop: Shop, place: str, floor: int):
    _, runtime = shop
    shutil.rmtree(runtime.directory)
    runtime.floors = {place: floor}
    with pytest.raises(Unauthentic, match=f"under the floor {floor}"):
        runtime.refresh()
    with pytest.raises(Missing):
        runtime.serving()


@pytest.mark.parametrize("place", ["models", BUNDLE_PATH])
def test_a_wiped_state_and_an_old_bundle(shop: Shop, place: str):
    _, runtime = shop
    shutil.rmtree(runtime.directory)
    runtime.floors = {place: 9}
    assert type(runtime.refresh().refused) is Unauthentic
    assert runtime.serving() == (1, None)


# Freeze


def test_a_frozen_timestamp(shop: Shop):
    _, runtime = shop
    runtime.now += DAY
    runtime.refuses(Unauthentic, "has expired")
    assert runtime.serving() == (1, 1)


@pytest.mark.parametrize(("role", "days"), [("snapshot", 7), ("targets", 365), ("root", 365), ("privacy", 365)])
def test_a_frozen_role(shop: Shop, role: str, days: int):
    publisher, runtime = shop
    runtime.now = publisher.now = publisher.now + days * DAY
    if role in ("targets", "root", "privacy"):
        publisher.show()
    publisher.stamp()
    runtime.refuses(Unauthentic, "has expired")


def test_a_clock_set_back_does_not_thaw_what_expired(shop: Shop):
    publisher, runtime = shop
    publisher.bundle(2, expires=publisher.now + DAY // 2)
    publisher.publish()
    assert runtime.refresh().refused is None
    runtime.now = publisher.now = publisher.now + DAY * 3 // 4
    publisher.publish()
    assert type(runtime.refresh().refused) is Forbidden
    assert runtime.serving() == (1, 1)
    runtime.now -= 30 * DAY
    assert runtime.serving() == (1, 1)
    runtime.refuses(Forbidden, "has expired")


def test_a_clock_that_ran_ahead_once_does_no_lasting_harm(shop: Shop):
    _, runtime = shop
    runtime.now += 4000 * DAY
    runtime.refuses(Unauthentic, "has expired")
    runtime.now -= 4000 * DAY
    assert runtime.refresh().refused is None


# Tampering, mixing, and breaking


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "models", "privacy"])
def test_tampered_metadata(shop: Shop, role: str):
    publisher, runtime = shop
    publisher.forge("targets")
    publisher.policy(2)
    publisher.release(2)
    path = newest(publisher, role)
    document = json.loads(path.read_bytes())
    document["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(document))
    before, served = runtime.files(), runtime.digests()
    try:
        refusal = runtime.refresh().refused
        assert role == "models"
    except Refusal as error:
        refusal = error
        assert runtime.files() == before
    assert type(refusal) is Unauthentic
    assert runtime.serving() == ((2, 1) if role == "models" else (1, 1))
    assert runtime.digests()[1] == served[1]


GARBAGE = [b"", b"{", b"null", b"[" * 5000, b"\xff" * 99, b'{"signed": {}, "signatures": []}']


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_place_of_the_timestamp(shop: Shop, garbage: bytes):
    publisher, runtime = shop
    newest(publisher, "timestamp").write_bytes(garbage)
    runtime.refuses(Malformed, "metadata")


@pytest.mark.parametrize("garbage", GARBAGE[1:])
@pytest.mark.parametrize("role", ["targets", "models", "privacy"])
def test_garbage_that_the_online_roles_vouch_for(shop: Shop, role: str, garbage: bytes):
    publisher, runtime = shop
    version = publisher.signed(role).version + 1
    (publisher.directory / "metadata" / f"{version}.{role}.json").write_bytes(garbage)
    point_at(publisher, **{role: version})
    runtime.refuses(Malformed, "metadata")


@pytest.mark.parametrize("role", ["targets", "models", "privacy"])
def test_signed_metadata_of_another_kind(shop: Shop, role: str):
    publisher, runtime = shop
    other = publisher.signed("timestamp")
    other.version = publisher.signed(role).version + 1
    publisher.write(role, other, publisher.keys[role])
    point_at(publisher, **{role: other.version})
    runtime.refuses(Unauthentic, "breaks a rule of TUF")


def test_mix_and_match(shop: Shop):
    """Every file is genuine, and they never belonged together: an older `models` under a newer name."""
    publisher, runtime = shop
    old = newest(publisher, "models").read_bytes()
    publisher.release(2)
    newest(publisher, "models").write_bytes(old)
    runtime.refuses(Unauthentic, "not what was signed")


@pytest.mark.parametrize("role", ["models", "privacy"])
@pytest.mark.parametrize("change", ["flip", "longer", "shorter", "older"])
def test_a_tampered_target(shop: Shop, role: str, change: str):
    publisher, runtime = shop
    if role == "models":
        publisher.release(2)
        path, data, old = publisher.target_file(bundle_bytes(2)), bundle_bytes(2), bundle_bytes(1)
    else:
        publisher.policy(2)
        publisher.publish()
        path, data, old = publisher.target_file(policy_bytes(2), POLICY_PATH), policy_bytes(2), policy_bytes(1)
    flipped = data[:100] + bytes([data[100] ^ 1]) + data[101:]
    path.write_bytes({"flip": flipped, "longer": data + b"\0", "shorter": data[:-1], "older": old}[change])
    runtime.refuses(Unauthentic)


def test_a_target_that_is_listed_and_not_there(shop: Shop):
    publisher, runtime = shop
    publisher.release(2)
    publisher.target_file(bundle_bytes(2)).unlink()
    runtime.refuses(Unavailable, "is not there")


@pytest.mark.parametrize("role", ["models", "privacy"])
def test_an_oversize_target_is_not_even_fetched(shop: Shop, role: str):
    publisher, runtime = shop
    path = BUNDLE_PATH if role == "models" else POLICY_PATH
    publisher.forge(role, lambda signed: publisher.list_target(signed, path, b"x", 2, length=1 << 40))
    publisher.publish()
    runtime.refuses(Malformed, "is longer than")


class Endless(DirectorySource):
    """Never stops sending what a name ends with `ending`."""

    def __init__(self, directory: Path, ending: str) -> None:
        super().__init__(directory)
        self.ending, self.sent = ending, 0

    def read(self, name: str, seconds: float) -> Iterator[bytes]:
        yield from super().read(name, seconds)
        while name.endswith(self.ending):
            self.sent += 1 << 14
            yield bytes(1 << 14)


@pytest.mark.parametrize("ending", ["timestamp.json", "snapshot.json", "privacy.json", "models.json", BUNDLE_PATH[8:]])
def test_an_endless_file(shop: Shop, ending: str):
    publisher, runtime = shop
    publisher.policy(2) if ending == "privacy.json" else None
    publisher.release(2)
    runtime.source = endless = Endless(publisher.directory, ending)
    runtime.refuses(Unauthentic, "is longer than it may be")
    assert endless.sent < 1 << 20


def test_more_bytes_than_one_refresh_may_fetch(shop: Shop):
    publisher, runtime = shop
    publisher.release(2)
    runtime.limits = Limits(total=10_000)
    runtime.refuses(Unavailable, "more than one refresh")


@pytest.mark.parametrize("data", [b"", b"\xc1", bundle_bytes(2)[:-1], b"format = 1"])
def test_a_broken_bundle_that_was_signed(shop: Shop, data: bytes):
    publisher, runtime = shop
    publisher.forge("models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, data, 2))
    publisher.publish()
    runtime.refuses(Malformed)


@pytest.mark.parametrize("data", [b"", b"\xff", policy_bytes(2)[:-30], b"#" * POLICY_LIMIT])
def test_a_broken_policy_that_was_signed(shop: Shop, data: bytes):
    publisher, runtime = shop
    publisher.forge("privacy", lambda signed: publisher.list_target(signed, POLICY_PATH, data, 2))
    publisher.publish()
    runtime.refuses(Malformed)


def test_an_expired_bundle(shop: Shop):
    publisher, runtime = shop
    old = bundle_bytes(2, expires=publisher.now)
    publisher.forge("models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, old, 2))
    publisher.publish()
    runtime.refuses(Forbidden, "has expired")


def test_a_bundle_that_expires_while_it_serves_gives_way(shop: Shop):
    publisher, runtime = shop
    publisher.bundle(2, expires=publisher.now + 60)
    publisher.publish()
    runtime.refresh()
    assert runtime.serving() == (1, 2)
    runtime.now += 60
    assert runtime.serving() == (1, 1)


@pytest.mark.parametrize("name", ["record", "kept"])
def test_files_that_were_changed_on_disk(shop: Shop, name: str):
    _, runtime = shop
    if name == "record":
        (runtime.directory / "record").write_bytes(b"\x80")
        with pytest.raises(Malformed):
            runtime.serving()
        runtime_files = runtime.files()
        with pytest.raises(Malformed):
            runtime.refresh()
        assert runtime.files() == runtime_files
        return
    for path in (runtime.directory / "kept").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(Unauthentic):
        runtime.serving()
    assert runtime.refresh().refused is None  # fetched again
    assert runtime.serving() == (1, 1)


# The policy first


def test_a_narrower_policy_falls_back_to_the_newest_that_it_permits(shop: Shop):
    publisher, runtime = shop
    wide = policy_bytes(2).replace(b"retention_days = 30", b"retention_days = 200")
    wide = wide.replace(b"retention_days = 90", b"retention_days = 200")
    publisher.repository.add_policy(wide, publisher.keys["privacy"], now=publisher.now)
    publisher.release(2)
    runtime.refresh()
    publisher.bundle(3, retention=200)
    publisher.publish()
    runtime.refresh()
    assert runtime.serving() == (2, 3)
    publisher.policy(3)
    publisher.publish()
    found = runtime.refresh()
    assert found.policy.version == 3
    assert type(found.refused) is Forbidden
    assert found.bundle is not None
    assert found.bundle.manifest.version == 2
    assert found.bundle_bytes == bundle_bytes(2)
    assert runtime.serving() == (3, 2)


def test_a_policy_that_permits_none_leaves_none(shop: Shop):
    publisher, runtime = shop
    publisher.policy(2, without="visit_*")
    publisher.publish()
    found = runtime.refresh()
    assert (found.policy.version, found.bundle, type(found.refused)) == (2, None, Forbidden)
    assert found.bundle_bytes == b""
    assert runtime.serving() == (2, None)


def test_a_newer_policy_takes_effect_though_the_bundle_can_not_be_had(shop: Shop):
    publisher, runtime = shop
    publisher.policy(2, without="visit_*")
    publisher.forge("models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, bundle_bytes(2), 2))
    publisher.publish()
    newest(publisher, "models").unlink()
    assert type(runtime.refresh().refused) is Unavailable
    assert runtime.serving() == (2, None)


def test_a_newer_policy_is_in_force_while_the_bundle_is_still_being_fetched(shop: Shop):
    publisher, runtime = shop
    publisher.policy(2)
    publisher.release(2)
    seen: list[tuple[int, int | None]] = []

    class Watching(DirectorySource):
        def read(self, name: str, seconds: float) -> Iterator[bytes]:
            if name.startswith("targets/bundles/"):
                seen.append(runtime.serving())
            return super().read(name, seconds)

    runtime.source = Watching(publisher.directory)
    runtime.refresh()
    assert seen == [(2, 1)]
    assert runtime.serving() == (2, 2)


# Rejected here, and versions that run away


def test_a_rejected_bundle_never_comes_back_and_a_good_one_after_it_does(shop: Shop):
    publisher, runtime = shop
    publisher.release(2)
    bad = runtime.refresh().bundle
    assert bad is not None
    found = reject(runtime.directory, bad.digest, now=runtime.now)
    assert found.bundle is not None
    assert found.bundle.manifest.version == 1
    publisher.target_file(bundle_bytes(2)).unlink()  # it is not even asked for again
    runtime.refuses(Forbidden, "was rejected here")
    runtime.refuses(Forbidden, "was rejected here")
    assert runtime.serving() == (1, 1)
    publisher.forge("models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, bundle_bytes(1), 1))
    publisher.publish()
    runtime.refuses(Unauthentic, "under the floor 2")  # a roll-back here is no roll-back there
    publisher.release(3)
    assert runtime.refresh().refused is None
    assert runtime.serving() == (1, 3)


@pytest.mark.parametrize("role", ["targets", "models", "privacy"])
def test_a_version_that_no_later_one_could_follow(shop: Shop, role: str):
    publisher, runtime = shop
    publisher.forge(role, delta=1 << 70)
    publisher.publish()
    runtime.refuses(Malformed, "beyond 2^53")


# Availability


def test_a_pipe_in_place_of_a_file(shop: Shop):
    publisher, runtime = shop
    newest(publisher, "timestamp").unlink()
    os.mkfifo(publisher.directory / "metadata" / "timestamp.json")
    runtime.refuses(Unavailable, "is no file")


def test_one_updater_at_a_time(shop: Shop):
    _, runtime = shop
    fd = os.open(runtime.directory / "lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    runtime.refuses(Busy, "another updater")
    os.close(fd)
    assert runtime.refresh().refused is None


def test_a_repository_that_is_not_there(shop: Shop, tmp_path: Path):
    _, runtime = shop
    runtime.source = DirectorySource(tmp_path / "nowhere")
    runtime.refuses(Unavailable, "is not there")


def test_a_link_out_of_the_repository(shop: Shop, tmp_path: Path):
    publisher, runtime = shop
    outside = tmp_path / "outside"
    stamp = newest(publisher, "timestamp")
    shutil.move(stamp, outside)
    stamp.symlink_to(outside)
    runtime.refuses(Unavailable, "leads out")


class Handler(BaseHTTPRequestHandler):
    """A static server that misbehaves as its server says, for paths that end with `server.where`."""

    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.server.directory / self.path.removeprefix("/shop/")
        mode = self.server.mode if self.path.endswith(self.server.where) else ""
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        if mode == "redirect":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere/timestamp.json")
            return self.end_headers()
        if mode == "error":
            return self.send_error(503)
        if mode == "instead":
            data = self.server.instead
        if mode == "slow headers":
            return self._trickle(b"HTTP/1.0 200 OK\r\nX-Slow: " + b"x" * 500)
        if mode == "garbage":
            self.wfile.write(os.urandom(64) + b"\r\n\r\n")
            return None
        self.send_response(200)
        if mode != "endless":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if mode == "slow":
            return self._trickle(data)
        if mode == "endless":
            return self._endless()
        self.wfile.write(data[: len(data) // 2] if mode == "cut" else data)
        return None

    def _trickle(self, data: bytes) -> None:
        for byte in data:
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return
            if self.server.stopped.wait(0.02):
                return

    def _endless(self) -> None:
        with suppress(OSError):
            for _ in range(512):
                self.wfile.write(bytes(1 << 16))


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.directory, self.mode, self.where, self.instead = directory, "", "", b""
        self.stopped = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def serving(directory: Path) -> Iterator[Server]:
    with Server(directory) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def web(shop: Shop) -> Iterator[tuple[Publisher, Runtime, Server]]:
    publisher, runtime = shop
    with serving(publisher.directory) as server:
        runtime.source = HttpSource(f"http://127.0.0.1:{server.server_port}/shop/")
        yield publisher, runtime, server


def test_an_honest_web_server(web: tuple[Publisher, Runtime, Server]):
    publisher, runtime, _ = web
    publisher.release(2)
    assert runtime.refresh().refused is None
    assert runtime.serving() == (1, 2)


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("redirect", Unavailable, "redirect (302)"),
        ("error", Unavailable, "status 503"),
        ("garbage", Unavailable, "can't be fetched"),
        ("cut", Unavailable, "ends early"),
        ("slow", Unavailable, "takes too long"),
        ("slow headers", Unavailable, "takes too long"),
        ("endless", Unauthentic, "is longer than it may be"),
    ],
)
@pytest.mark.parametrize("where", ["timestamp.json", BUNDLE_PATH[8:]])
def test_a_web_server_that_misbehaves(
    web: tuple[Publisher, Runtime, Server], mode: str, where: str, kind: type[Refusal], words: str
):
    publisher, runtime, server = web
    publisher.release(2)
    server.mode, server.where = mode, where
    runtime.limits = Limits(seconds=0.5 if mode.startswith("slow") else 20)
    runtime.refuses(kind, words)
    server.mode = ""
    runtime.limits = Limits()
    assert runtime.refresh().refused is None
    assert runtime.serving() == (1, 2)


@pytest.mark.parametrize("instead", ["garbage", "a page", "nothing", "another file of ours"])
@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("timestamp.json", Malformed),
        ("snapshot.json", Unauthentic),
        ("targets.json", Unauthentic),
        ("privacy.json", Unauthentic),
        ("models.json", Unauthentic),
        (POLICY_PATH[9:], Unauthentic),
        (BUNDLE_PATH[8:], Unauthentic),
    ],
)
def test_a_web_server_that_answers_with_something_else(
    web: tuple[Publisher, Runtime, Server], where: str, kind: type[Refusal], instead: str
):
    publisher, runtime, server = web
    publisher.policy(2) if where in ("privacy.json", POLICY_PATH[9:]) else None
    publisher.repository.sign_again("targets", publisher.keys["targets"], now=publisher.now)
    publisher.release(2)
    page = b"<!doctype html><title>Sign in to this network</title>"
    other = newest(publisher, "root").read_bytes()
    server.instead = {"garbage": os.urandom(999), "a page": page, "nothing": b"", "another file of ours": other}[
        instead
    ]
    server.mode, server.where = "instead", where
    runtime.refuses(Unauthentic if instead == "another file of ours" else kind)
    server.mode = ""
    assert runtime.refresh().refused is None


@pytest.mark.parametrize("where", ["timestamp.json", "snapshot.json", "privacy.json", "models.json", BUNDLE_PATH[8:]])
def test_a_web_server_that_mixes_two_shops(web: tuple[Publisher, Runtime, Server], tmp_path: Path, where: str):
    """Every file is genuine and of the very same name and version, signed in a shop of its own."""
    publisher, runtime, server = web
    keys = {role: tuple(CryptoSigner.generate_ed25519() for _ in held) for role, held in publisher.keys.items()}
    other = Publisher(tmp_path / "other", keys=keys)
    other.policy()
    for shop in (publisher, other):
        shop.policy(2) if shop is publisher or where == "privacy.json" else None
        shop.publish()
        shop.release(2) if shop is publisher else shop.bundle(2, expires=NOON + 9 * DAY)
        shop.publish()
    role = where.removesuffix(".json")
    file = newest(other, role) if role != where else other.target_file(bundle_bytes(2, expires=NOON + 9 * DAY))
    server.instead, server.mode, server.where = file.read_bytes(), "instead", where
    first = runtime.digests()
    try:
        refusal = runtime.refresh().refused
    except Refusal as error:
        refusal = error
    assert type(refusal) is Unauthentic
    assert runtime.digests()[1] == first[1]
    server.mode = ""
    assert runtime.refresh().refused is None
    assert runtime.serving() == (2, 2)


@pytest.mark.parametrize("where", ["timestamp.json", "snapshot.json", "privacy.json", BUNDLE_PATH[8:]])
def test_mirrors_of_different_age_behind_one_address(
    web: tuple[Publisher, Runtime, Server], tmp_path: Path, where: str
):
    """A cache that still holds yesterday's copy of one file: refused, and taken once the mirrors agree."""
    publisher, runtime, server = web
    old = {role: newest(publisher, role).read_bytes() for role in ("timestamp", "snapshot", "privacy")}
    publisher.release(2)
    publisher.policy(2)
    publisher.release(3)
    runtime.refresh() if where == "timestamp.json" else None
    server.instead = old.get(where.removesuffix(".json"), bundle_bytes(2))
    server.mode, server.where = "instead", where
    served = runtime.digests()
    try:
        refusal = runtime.refresh().refused
    except Refusal as error:
        refusal = error
    assert type(refusal) is Unauthentic
    assert runtime.digests()[1] == served[1]
    server.mode = ""
    assert runtime.refresh().refused is None
    assert runtime.serving() == (2, 3)


def test_a_web_server_that_is_gone(shop: Shop):
    _, runtime = shop
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    runtime.source = HttpSource(f"http://127.0.0.1:{port}/")
    runtime.refuses(Unavailable, "can't be fetched")


def test_a_source_of_tls_that_is_none(web: tuple[Publisher, Runtime, Server]):
    _, runtime, server = web
    runtime.source = HttpSource(f"https://127.0.0.1:{server.server_port}/shop/")
    runtime.refuses(Unavailable, "can't be fetched")


def test_what_serves_is_told_without_asking_anybody(shop: Shop):
    publisher, runtime = shop
    shutil.rmtree(publisher.directory)
    found = read_state(runtime.directory, now=runtime.now)
    assert found.policy_bytes == policy_bytes(1)
    assert found.bundle_bytes == bundle_bytes(1)
    assert not found.stale(runtime.now + found.policy.max_stale)
    assert found.stale(runtime.now + found.policy.max_stale + 1)
