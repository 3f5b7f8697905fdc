"""The runtime's end of the signed road, part by part."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from securesystemslib.signer import CryptoSigner, SSlibKey
from tests.repository import (
    BUNDLE,
    BUNDLE_PATH,
    DAY,
    POLICY_PATH,
    TENANT,
    Publisher,
    Runtime,
    bundle_bytes,
    pair,
    policy_bytes,
)
from tests.shop import NOON
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from entrenous.bundle import read_bundle
from entrenous.updates.bounded import Bounded
from entrenous.updates.deployment import Deployment, Limits
from entrenous.updates.fetch import DirectorySource, HttpSource
from entrenous.updates.refresh import visit
from entrenous.updates.retained import RETAINED, Record, State, read_state, reject
from entrenous.updates.verify import Listed, check_floor, check_versions, choose, sound_key
from entrenous_consent.errors import Malformed, Missing, Refusal, Unauthentic, Unavailable
from entrenous_consent.policy import parse_policy

SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
"""The eight points whose order divides 8, as Cr.yp.to and libsodium list them."""
NOT_CANONICAL = [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]
POLICY = parse_policy(policy_bytes())
FIRST, SECOND = read_bundle(bundle_bytes(1)), read_bundle(bundle_bytes(2))


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Publisher, Runtime]:
    return pair(tmp_path)


Shop = tuple[Publisher, Runtime]


def key(public: str, keytype: str = "ed25519") -> SSlibKey:
    return SSlibKey("0" * 64, keytype, keytype, {"public": public})


def test_keys_that_are_made_are_sound():
    for _ in range(50):
        made = CryptoSigner.generate_ed25519().public_key
        assert sound_key(made) == bytes.fromhex(made.keyval["public"])


@pytest.mark.parametrize("public", [*SMALL_ORDER, *NOT_CANONICAL])
def test_keys_of_small_order_are_not(public: str):
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))  # the library takes it
    assert sound_key(key(public)) is None


@pytest.mark.parametrize("public", ["", "00" * 31, "zz" * 32, "AB" * 32, "02" + "00" * 31, "07" + "00" * 31, "ff" * 32])
def test_what_is_no_key_is_not_sound(public: str):
    assert sound_key(key(public)) is None


def test_sound_points_are_about_half_of_all():
    sound = sum(sound_key(key(y.to_bytes(32, "little").hex())) is not None for y in range(2, 402))
    assert 160 < sound < 240


def test_a_floor_refuses_what_is_under_it_alone():
    check_floor("models", 3, {"models": 3, "privacy": 9})
    check_floor("elsewhere", 1, {"models": 3})
    with pytest.raises(Unauthentic, match="under the floor 3"):
        check_floor("models", 2, {"models": 3})


def test_a_target_agrees_with_itself_and_with_what_was_taken():
    target = Listed(path=BUNDLE_PATH, version=2, length=1, digest=b"b" * 32)
    check_versions(target, 2, {BUNDLE_PATH: 2}, {BUNDLE_PATH: b"b" * 32})
    check_versions(target, 2, {BUNDLE_PATH: 1}, {BUNDLE_PATH: b"a" * 32})
    with pytest.raises(Unauthentic, match="says 3"):
        check_versions(target, 3, {}, {})
    with pytest.raises(Unauthentic, match="other bytes"):
        check_versions(target, 2, {BUNDLE_PATH: 2}, {BUNDLE_PATH: b"a" * 32})


def test_the_newest_that_may_serve_is_chosen():
    assert choose([FIRST, SECOND], POLICY, NOON, ()) is SECOND
    assert choose([SECOND, FIRST], POLICY, NOON, (SECOND.digest,)) is FIRST
    assert choose([FIRST, SECOND], POLICY, SECOND.manifest.expires - 1, ()) is SECOND
    assert choose([FIRST, SECOND], POLICY, SECOND.manifest.expires, ()) is None
    assert choose([FIRST, SECOND], replace(POLICY, features=()), NOON, ()) is None
    assert choose([], POLICY, NOON, ()) is None


def test_floors_only_rise():
    record = Record(floors={"root": 5, "models": 2}).raised({"root": 3, "models": 4, "privacy": 1})
    assert record.floors == {"root": 5, "models": 4, "privacy": 1}


def test_a_record_comes_back_as_it_was(tmp_path: Path):
    state = State(tmp_path)
    record = Record(
        tenant="shop",
        bundle="offers",
        clock=NOON,
        floors={"root": 3, BUNDLE_PATH: 7},
        marks={BUNDLE_PATH: b"m" * 32},
        policy=b"p" * 32,
        retained=(b"a" * 32, b"b" * 32),
        rejected=(b"c" * 32,),
    )
    assert state.load() == Record()
    state.save(record)
    assert state.load() == record


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xc1", b"\x81\xa6format\x02"])
def test_a_broken_record_is_refused(tmp_path: Path, data: bytes):
    (tmp_path / "record").write_bytes(data)
    with pytest.raises(Malformed):
        State(tmp_path).load()


def test_nothing_serves_before_the_first_refresh(tmp_path: Path):
    with pytest.raises(Missing, match="no policy yet"):
        read_state(tmp_path, now=NOON)


def test_only_the_newest_bundles_are_retained_and_the_rest_is_swept(shop: Shop):
    publisher, runtime = shop
    for version in range(2, RETAINED + 4):
        publisher.release(version)
        assert runtime.refresh().refused is None
    runtime.refresh()
    kept = [name for name in runtime.files() if name.startswith("kept/")]
    assert len(kept) == RETAINED + 1
    assert runtime.serving() == (1, RETAINED + 3)


def test_what_a_killed_updater_left_is_swept(shop: Shop):
    _, runtime = shop
    (runtime.directory / "staging-left").mkdir()
    (runtime.directory / "staging-left" / "target").write_bytes(b"x")
    before = {name for name in runtime.files() if not name.startswith("staging-")}
    runtime.refresh()
    assert set(runtime.files()) == before


def test_a_newer_deployment_does_not_serve_what_is_under_its_floors(shop: Shop):
    _, runtime = shop
    assert read_state(runtime.directory, now=NOON, floors={BUNDLE_PATH: 1, POLICY_PATH: 1}).bundle is not None
    assert read_state(runtime.directory, now=NOON, floors={BUNDLE_PATH: 2}).bundle is None
    with pytest.raises(Unauthentic, match="under the floor 2"):
        read_state(runtime.directory, now=NOON, floors={POLICY_PATH: 2})


def test_a_disk_that_fails_at_the_commit_changes_nothing_that_serves(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    publisher, runtime = shop
    publisher.policy(2)
    publisher.release(2)

    def full(*_: object) -> None:
        raise Unavailable("the disk is full", place="record", remedy="free space")

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", full)
        with pytest.raises(Unavailable):
            runtime.refresh()
        assert runtime.serving() == (1, 1)
    assert runtime.refresh().refused is None
    assert runtime.serving() == (2, 2)


def test_a_state_directory_is_of_one_tenant_and_bundle(shop: Shop):
    _, runtime = shop
    with pytest.raises(Malformed, match="another tenant or bundle"):
        runtime.refresh(bundle="another")


def test_a_bundle_that_was_never_published_leaves_the_policy_alone(shop: Shop, tmp_path: Path):
    _, runtime = shop
    runtime.directory = tmp_path / "other"
    found = runtime.refresh(bundle="another")
    assert (found.policy.version, found.bundle, type(found.refused)) == (1, None, Missing)


def test_a_trusted_root_that_is_none(shop: Shop):
    _, runtime = shop
    with pytest.raises(Malformed, match="is not TUF metadata"):
        runtime.refresh(root=b"{}")


def test_a_rejection_is_remembered_once(shop: Shop):
    _, runtime = shop
    for _ in range(2):
        assert reject(runtime.directory, FIRST.digest, now=runtime.now).bundle is None
    assert State(runtime.directory).load().rejected == (FIRST.digest,)


def test_a_second_refresh_fetches_neither_policy_nor_bundle_again(shop: Shop):
    publisher, runtime = shop
    names: list[str] = []

    class Counting(DirectorySource):
        def read(self, name: str, seconds: float) -> Iterator[bytes]:
            names.append(name)
            return super().read(name, seconds)

    runtime.source = Counting(publisher.directory)
    runtime.refresh()
    assert names == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_no_exception_of_a_third_party_gets_through(shop: Shop):
    publisher, runtime = shop

    class Failing(DirectorySource):
        def read(self, name: str, seconds: float) -> Iterator[bytes]:
            raise ZeroDivisionError

    runtime.source = Failing(publisher.directory)
    with pytest.raises(Refusal):
        runtime.refresh()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example/tuf",
        "http://shop.example/tuf",
        "ftp://shop.example/tuf",
        "file:///etc",
        "https://user:secret@shop.example/tuf",
        "https://shop.example/tuf?token=secret",
        "https://shop.example/tuf#x",
        "https://shop.example:99999/tuf",
        "https:///tuf",
    ],
)
def test_addresses_that_are_refused_without_repeating_them(url: str):
    with pytest.raises(Malformed) as caught:
        HttpSource(url)
    assert "secret" not in str(caught.value)
    assert caught.value.remedy


# TLS


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own, in files."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, directory: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate("authority", key.public_key(), "authority", key)
        (directory / "authority.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        return cls(directory, key, certificate)

    def context(self) -> ssl.SSLContext:
        """Return what trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.directory / "authority.pem"))

    def serve(self, host: str, *, until: timedelta = timedelta(days=1)) -> ssl.SSLContext:
        """Return a server's side: a certificate for `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(host, key.public_key(), "authority", self.key, until=until)
        path = self.directory / "server.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _certificate(
    name: str,
    public: ec.EllipticCurvePublicKey,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    until: timedelta = timedelta(days=1),
) -> x509.Certificate:
    now, authority = datetime.now(UTC), name == issuer
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer)]
    builder = x509.CertificateBuilder(names[1], names[0], public, x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=2)).not_valid_after(now + until)
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    issued = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(issued, critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    if authority:
        usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    else:
        address = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(key, SHA256())


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _TlsServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the handshake is no fault of the server's."""


@contextmanager
def over_tls(directory: Path, context: ssl.SSLContext) -> Iterator[str]:
    """Serve a directory over TLS; yield its address on 127.0.0.1."""
    with _TlsServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_a_repository_over_tls_with_an_authority_of_our_own(shop: Shop, tmp_path: Path):
    publisher, runtime = shop
    publisher.release(2)
    authority = Authority.make(tmp_path)
    with over_tls(publisher.directory, authority.serve("127.0.0.1")) as url:
        runtime.source = HttpSource(url, context=authority.context())
        assert runtime.refresh().refused is None
    assert runtime.serving() == (1, 2)


def test_an_authority_that_nobody_named_is_not_trusted(shop: Shop, tmp_path: Path):
    publisher, runtime = shop
    publisher.release(2)
    authority = Authority.make(tmp_path)
    with over_tls(publisher.directory, authority.serve("127.0.0.1")) as url:
        runtime.source = HttpSource(url)
        runtime.refuses(Unavailable, "SSLCertVerificationError")
    assert runtime.serving() == (1, 1)


@pytest.mark.parametrize(
    ("host", "until"),
    [("shop.example", timedelta(days=1)), ("127.0.0.2", timedelta(days=1)), ("127.0.0.1", timedelta(days=-1))],
    ids=["another name", "another address", "expired"],
)
def test_a_certificate_that_does_not_hold_here(shop: Shop, tmp_path: Path, host: str, until: timedelta):
    publisher, runtime = shop
    publisher.release(2)
    authority = Authority.make(tmp_path)
    with over_tls(publisher.directory, authority.serve(host, until=until)) as url:
        runtime.source = HttpSource(url, context=authority.context())
        runtime.refuses(Unavailable, "SSLCertVerificationError")
    assert runtime.serving() == (1, 1)


def test_one_refresh_has_a_budget_of_bytes_and_of_seconds(tmp_path: Path):
    (tmp_path / "file").write_bytes(bytes(100))
    time = 0.0
    fetcher = Bounded(DirectorySource(tmp_path), Limits(seconds=5, total=150), lambda: time)
    assert fetcher.download_bytes("file", 100) == bytes(100)
    with pytest.raises(DownloadError, match="more than one refresh"):
        fetcher.download_bytes("file", 100)
    with pytest.raises(DownloadHTTPError):
        fetcher.download_bytes("absent", 100)
    time = 5.0
    with pytest.raises(DownloadError, match="takes too long"):
        fetcher.download_bytes("file", 100)


def test_the_runtime_loads_no_updater_unless_asked():
    probe = (
        "import sys, entrenous.updates.retained; sys.exit(any(name.partition('.')[0] == 'tuf' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


# A poll that sees what it has judged already


@pytest.fixture
def poll(shop: Shop):
    """Visit as one process does: on one state, again and again."""
    _, runtime = shop
    state = State(runtime.directory)
    deployment = Deployment(root=runtime.root, tenant=TENANT, bundle=BUNDLE)
    return lambda: visit(runtime.source, state, deployment, now=runtime.now)


def test_what_was_judged_is_not_judged_again_and_the_publisher_was_heard(shop: Shop, poll, monkeypatch):
    publisher, runtime = shop
    poll()
    monkeypatch.setattr("entrenous.updates.refresh._Visit._walk", lambda *_: pytest.fail("judged again"))
    runtime.now = publisher.now = publisher.now + DAY // 2
    publisher.repository.refresh_timestamp(publisher.keys["timestamp"], now=publisher.now)
    found = poll()
    assert (found.refused, found.refreshed) == (None, runtime.now)
    assert found.bundle is not None


@pytest.mark.parametrize("change", ["bundle", "policy", "rejected", "root"])
def test_anything_new_is_judged(shop: Shop, poll, monkeypatch, change: str):
    publisher, runtime = shop
    first = poll()
    judged = []
    monkeypatch.setattr("entrenous.updates.refresh._Visit._walk", lambda *_: judged.append(change))
    if change == "bundle":
        publisher.release(2)
    elif change == "policy":
        publisher.policy(2)
        publisher.publish()
    elif change == "rejected":
        reject(runtime.directory, first.bundle.digest, now=runtime.now)
    else:
        key = CryptoSigner.generate_ed25519()
        publisher.repository.rotate("root", publisher.keys["root"], now=publisher.now, add=[key.public_key])
    poll()
    assert judged == [change]


@pytest.mark.parametrize("what", ["privacy", "models", "the bundle"])
def test_what_expires_is_judged_again(shop: Shop, poll, what: str):
    publisher, runtime = shop
    if what == "the bundle":
        publisher.bundle(2, expires=NOON + 40 * DAY)
    else:
        publisher.forge(what, lambda signed: setattr(signed, "expires", datetime.fromtimestamp(NOON + 40 * DAY, UTC)))
    publisher.publish()
    assert poll().refused is None
    runtime.now = publisher.now = NOON + 41 * DAY
    publisher.show()
    try:
        refused = poll().refused
    except Refusal as error:
        refused = error
    assert "has expired" in str(refused)


def test_a_refusal_is_judged_every_time(shop: Shop, poll):
    publisher, _ = shop
    poll()
    publisher.forge("models", lambda signed: signed.targets.clear())
    publisher.publish()
    assert poll().refused is not None
    assert poll().refused is not None


def test_a_file_that_is_refused_half_read_is_let_go_of_while_the_refusal_is_kept(shop: Shop):
    """What keeps the refusal keeps its traceback; a connection must not hang on that."""
    publisher, runtime = shop
    publisher.release(2)
    closed = []

    class Endless(DirectorySource):
        def read(self, name: str, seconds: float) -> Iterator[bytes]:
            try:
                yield from super().read(name, seconds)
                if name.endswith("timestamp.json"):
                    while True:
                        yield bytes(1 << 14)
            finally:
                closed.append(name)

    runtime.source = Endless(publisher.directory)
    with pytest.raises(Refusal) as kept:
        runtime.refresh()
    assert "longer than it may be" in str(kept.value)
    assert any(name.endswith("timestamp.json") for name in closed)
