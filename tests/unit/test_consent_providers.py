"""Root keys that are kept by the operating system or by a key service."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from entrenous_consent import providers
from entrenous_consent.errors import Malformed, Missing, Unavailable
from entrenous_consent.keys import Keyring
from entrenous_consent.providers import (
    KEY_BYTES,
    EnvironmentKeyProvider,
    FileKeyProvider,
    MemoryKeyService,
    ServiceKeyProvider,
    SystemKeyProvider,
    provider_of,
)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """The real package `keyring`, on a backend that keeps everything in this dictionary."""
    keyring = pytest.importorskip("keyring")
    held: dict[tuple[str, str], str] = {}

    class Backend(keyring.backend.KeyringBackend):  # type: ignore[misc,name-defined]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return held.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            held[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del held[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(Backend())
    yield held
    keyring.set_keyring(before)


def test_the_systems_keyring_holds_one_key_until_it_is_deleted(system, tmp_path):
    provider = SystemKeyProvider("corner_shop")
    key = provider.root()
    assert len(key) == KEY_BYTES
    assert SystemKeyProvider("corner_shop").root() == key
    assert SystemKeyProvider("corner_shop", "other").root() != key
    assert Keyring(tmp_path / "keyring", provider).boundary
    provider.delete()
    provider.delete()
    assert list(system) == [("corner_shop", "other")]


@pytest.mark.parametrize("value", ["", "zz" * 32, "ab" * 31, "AB" * 32])
def test_another_secret_under_that_name_is_no_root_key_and_stays(system, value):
    system["corner_shop", "entrenous"] = value
    with pytest.raises(Malformed) as caught:
        SystemKeyProvider("corner_shop").root()
    assert not value or value not in str(caught.value)
    assert system["corner_shop", "entrenous"] == value


def test_a_keyring_that_keeps_nothing_is_not_trusted(monkeypatch):
    deaf = SimpleNamespace(get_password=lambda *_: None, set_password=lambda *_: None)
    monkeypatch.setattr(providers, "import_module", lambda _: deaf)
    with pytest.raises(Malformed):
        SystemKeyProvider("corner_shop").root()


def test_a_locked_keyring_says_so_in_our_words(monkeypatch):
    def locked(*_: str) -> str:
        raise OSError("prompt dismissed")

    monkeypatch.setattr(providers, "import_module", lambda _: SimpleNamespace(get_password=locked))
    with pytest.raises(Unavailable, match="OSError"):
        SystemKeyProvider("corner_shop").root()


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(Missing, match=r"entrenous\[keyring\]"):
        SystemKeyProvider("corner_shop").root()


def test_a_service_wraps_the_key_and_the_file_alone_is_nothing(tmp_path):
    path, service = tmp_path / "root.wrapped", MemoryKeyService()
    key = ServiceKeyProvider(path, service).root()
    assert len(key) == KEY_BYTES
    assert key not in path.read_bytes()
    assert ServiceKeyProvider(path, service).root() == key
    with pytest.raises(Unavailable, match="does not unwrap"):
        ServiceKeyProvider(path, MemoryKeyService()).root()


def test_deleting_destroys_the_services_key_first(tmp_path):
    path, service = tmp_path / "root.wrapped", MemoryKeyService()
    provider = ServiceKeyProvider(path, service)
    provider.root()
    copy = path.read_bytes()
    provider.delete()
    assert not path.exists()
    path.write_bytes(copy)
    with pytest.raises(Unavailable):
        provider.root()


def test_a_service_that_hands_back_another_key_or_refuses_is_told(tmp_path):
    path, service = tmp_path / "root.wrapped", MemoryKeyService()
    provider = ServiceKeyProvider(path, service)
    provider.root()
    service._held = {path.read_bytes(): b"short"}
    with pytest.raises(Malformed, match="32 bytes"):
        provider.root()

    def refuse(wrapped: bytes) -> bytes:
        raise Missing("is not there", place="service")

    service.unwrap = refuse
    with pytest.raises(Missing):
        provider.root()


@pytest.mark.parametrize(
    ("described", "kind"),
    [
        ("file", FileKeyProvider),
        ("environment:ROOT_KEY", EnvironmentKeyProvider),
        ("keyring:corner_shop", SystemKeyProvider),
    ],
)
def test_a_configuration_names_its_provider(described, kind, tmp_path):
    assert type(provider_of(described, tmp_path)) is kind


@pytest.mark.parametrize("described", ["", "files", "file:x", "environment:", "environment:A-B", "keyring:", "kms:x"])
def test_another_word_is_refused(described, tmp_path: Path):
    with pytest.raises(Malformed, match="root_key"):
        provider_of(described, tmp_path)


def test_processes_that_start_together_ask_for_the_root_key_in_turn(tmp_path):
    """Else each makes one, the provider keeps the last, and the keyring was sealed with the first: nothing opens."""

    class Watched:
        def root(self) -> bytes:
            with (tmp_path / "keyring.lock").open("rb") as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return bytes(KEY_BYTES)

        def delete(self) -> None:
            raise AssertionError

    assert Keyring(tmp_path / "keyring", Watched()).boundary
