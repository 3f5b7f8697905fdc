"""The operator's configuration: a TOML file, every unknown key refused; `docs/formats.md` describes it.

Paths are relative to the file. Secrets lie in files of their own, which only their owner may read.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from entrenous import Config, Deployment
from entrenous.importing.mapping import AnyMapping, parse_mapping
from entrenous.messages.webhooks import parse_endpoints
from entrenous_consent.errors import Malformed, Missing, Unavailable
from entrenous_consent.files import reaching
from entrenous_consent.parsing import Table
from entrenous_consent.providers import KeyProvider, provider_of

__all__ = ["Address", "EdgeConfig", "read_config"]

_LIMIT = 1 << 16
_MOST_THEME_BYTES = 64 << 10
_MOST_VERSION = (1 << 53) - 1
_ROLES = ("root", "timestamp", "snapshot", "targets", "models", "privacy")
_LOOPBACK = ("127.0.0.1", "::1")
_COLLECTOR = re.compile(r"(https://[^/@\s?#]+|http://(127\.0\.0\.1|\[::1\])(:\d+)?)(/[^\s?#]*)?")
"""Where metrics may go: plainly no further than this host, as reports."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only this host can reach it."""
        return self.host in _LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """The parsed configuration.

    Attributes:
        source, root, tenant, bundle, floors, state, keys, collector: as `entrenous.Config` and `Deployment` take them.
        listen: the public port. admin: metrics and operation. admin_token, token_key: secrets.
        root_key: where the keyring's root key is; see `entrenous_consent.providers.provider_of`.
        publishable_keys: open decisions and events. allow_origins: pages of other sites that may call.
        webhooks: by message of the policy, where it goes.
        mappings: by name, how rows of imports are read, beside the packaged ones.
        processes: how many serve the public port, each with an admin port of its own: the first's, the next number, …
        most_per_second: calls under one publishable key and process, 0 for no bound. drain_seconds: for how long
            `/readyz` says so before a process that is to end takes no more. tls: certificate and key, None for none.
        theme: a stylesheet of the shop's for the preference page, empty for none. otlp: the address of an OpenTelemetry
            collector, empty for none.
        clock_by_admin: events and decisions are dated by the admin port, for replays; refused unless both listen here.
    """

    source: str
    root: Path
    tenant: str
    bundle: str
    floors: Mapping[str, int]
    state: Path
    keys: Path
    root_key: KeyProvider
    collector: str
    listen: Address
    admin: Address
    admin_token: str
    token_key: bytes | None
    publishable_keys: tuple[str, ...]
    allow_origins: tuple[str, ...]
    clock_by_admin: bool
    refresh_seconds: float
    release_seconds: float
    webhooks: Mapping[str, str]
    mappings: Mapping[str, AnyMapping]
    message_seconds: float
    processes: int
    most_per_second: int
    drain_seconds: float
    tls: tuple[Path, Path] | None
    theme: bytes
    otlp: str

    def client(self, clock: object = None) -> Config:
        """Return what a `Client` of this worker runs on."""
        deployment = Deployment(root=self.root, tenant=self.tenant, bundle=self.bundle, floors=self.floors)
        more = {"clock": clock} if clock is not None else {}
        return Config(
            source=self.source if "://" in self.source else Path(self.source),
            deployment=deployment,
            state=self.state,
            keys=self.keys,
            key_provider=self.root_key,
            crowd=True,
            collector=self.collector or None,
            refresh_seconds=self.refresh_seconds,
            release_seconds=self.release_seconds,
            webhooks=self.webhooks,
            message_seconds=self.message_seconds,
            **more,  # type: ignore[arg-type]
        )


def read_config(path: Path) -> EdgeConfig:
    """Return the configuration in the file at `path`.

    Raises:
        Missing: there is no such file, or a secret's file. Malformed: an unknown or missing key, or a value that can't
            be. Unavailable: a secret that others may read.
    """
    with reaching(path):
        data = path.read_bytes() if path.is_file() else None
    if data is None:
        raise Missing("is not there", place=str(path), remedy="check --config")
    if len(data) > _LIMIT:
        raise Malformed(f"is longer than {_LIMIT} bytes", place=path.name, remedy="shorten it")
    try:
        top = Table(tomllib.loads(data.decode()))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not TOML in UTF-8 ({error})", place=path.name, remedy="mend that line") from error
    try:
        return _parse(top, path.parent)
    except Malformed as error:
        raise Malformed(error.what, place=f"{path.name}: {error.place}", remedy=error.remedy) from error


def _parse(top: Table, base: Path) -> EdgeConfig:
    top.integer("format", least=1, most=1)
    source = top.text("source")
    listen, admin = _address(top, "listen"), _address(top, "admin")
    config = EdgeConfig(
        source=source if "://" in source else str(base / source),
        root=base / top.text("root"),
        tenant=top.name("tenant"),
        bundle=top.name("bundle"),
        floors=_floors(top.table("floors", {})),
        state=base / top.text("state"),
        keys=base / top.text("keys"),
        root_key=provider_of(top.text("root_key", "file"), base / top.text("keys")),
        collector=top.text("collector", ""),
        listen=listen,
        admin=admin,
        admin_token=_secret(base / top.text("admin_token_file")).decode("ascii", "replace").strip(),
        token_key=_secret(base / top.text("token_key_file")) if top.has("token_key_file") else None,
        publishable_keys=top.texts("publishable_keys", longest=64),
        allow_origins=top.texts("allow_origins", (), longest=64),
        clock_by_admin=top.choice("clock", ("system", "admin"), "system") == "admin",
        refresh_seconds=top.number("refresh_seconds", 300.0, least=0, most=86_400),
        release_seconds=top.number("release_seconds", 600.0, least=0, most=86_400),
        webhooks=_webhooks(top.table("webhooks", {})),
        mappings=_mappings(top.table("mappings", {}), base),
        message_seconds=top.number("message_seconds", 60.0, least=0, most=86_400),
        processes=top.integer("processes", 1, least=1, most=64),
        most_per_second=top.integer("most_per_second", 0, least=0, most=1_000_000),
        drain_seconds=top.number("drain_seconds", 0.0, least=0, most=300),
        tls=_tls(top.table("tls", {}), base),
        theme=_theme(top, base),
        otlp=top.text("otlp", ""),
    )
    top.close()
    if config.clock_by_admin and not (listen.local and admin.local):
        raise top.refuse("clock", "is the admin port's, and a port is open to others", "bind both to 127.0.0.1")
    if not config.publishable_keys or min(map(len, config.publishable_keys)) < 16:
        raise top.refuse("publishable_keys", "holds none, or one under 16 characters", "make longer ones")
    if len(config.admin_token) < 16:
        raise top.refuse("admin_token_file", "holds fewer than 16 characters", "write a longer token")
    if config.token_key is not None and len(config.token_key) < 32:
        raise top.refuse("token_key_file", "holds fewer than 32 bytes", "write 32 random bytes")
    if config.otlp and not _COLLECTOR.fullmatch(config.otlp):
        remedy = "write it as http://127.0.0.1:4318 on this host, as https://… elsewhere"
        raise top.refuse("otlp", "is no address of a collector behind HTTPS, or on this host", remedy)
    for origin in config.allow_origins:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise top.refuse(
                "allow_origins", "holds what is no origin", "write scheme and host, as https://shop.example"
            )
    return config


def _floors(table: Table) -> dict[str, int]:
    found = {name: table.integer(name, least=1, most=_MOST_VERSION) for name in table.keys()}  # noqa: SIM118
    for name in found:
        if name not in _ROLES and not re.fullmatch(r"(bundles|policies)/[a-z][a-z0-9_]*", name):
            raise table.refuse(name, "is no role and no target", f"one of {', '.join(_ROLES)}, or bundles/<name>")
    table.close()
    return found


def _tls(table: Table, base: Path) -> tuple[Path, Path] | None:
    if not table.keys():
        return None
    certificate, key = base / table.text("certificate"), base / table.text("key")
    table.close()
    if not certificate.is_file():
        raise Missing("is not there", place="tls.certificate", remedy="check the path")
    _secret(key)
    return certificate, key


def _webhooks(table: Table) -> dict[str, str]:
    found = {name: table.text(name) for name in table.keys()}  # noqa: SIM118
    table.close()
    parse_endpoints(found)
    return found


def _mappings(table: Table, base: Path) -> dict[str, AnyMapping]:
    found = {name: base / table.text(name) for name in table.keys()}  # noqa: SIM118
    table.close()
    for name, path in found.items():
        if not path.is_file():
            raise Missing("is not there", place=f"mappings.{name}", remedy="check the path")
    return {name: parse_mapping(path.read_bytes(), place=f"mappings.{name}") for name, path in found.items()}


def _theme(top: Table, base: Path) -> bytes:
    named = top.text("theme", "")
    if not named:
        return b""
    if not (base / named).is_file():
        raise Missing("is not there", place="theme", remedy="check the path")
    style = (base / named).read_bytes()
    if len(style) > _MOST_THEME_BYTES:
        raise top.refuse("theme", f"is longer than {_MOST_THEME_BYTES} bytes", "shorten it")
    try:
        style.decode("utf-8")
    except ValueError as error:
        raise top.refuse("theme", "is not UTF-8", "save it as UTF-8") from error
    return style


def _address(top: Table, key: str) -> Address:
    host, _, port = top.text(key).rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise top.refuse(key, "is not host:port", 'write it as "127.0.0.1:8080"')
    return Address(host.strip("[]"), int(port))


def _secret(path: Path) -> bytes:
    with reaching(path), path.open("rb") as file:
        mode, secret = os.fstat(file.fileno()).st_mode, file.read(4096)
    if stat.S_IMODE(mode) & 0o077:
        raise Unavailable("others may read it", place=str(path), remedy="chmod 600 and consider it seen")
    return secret
