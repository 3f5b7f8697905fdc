"""What is built into an installation, and no repository can change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from entrenous_consent.files import reaching

__all__ = ["Deployment", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one refresh may cost, in bytes; `seconds` in all; `rotations`: new roots since the trusted one."""

    seconds: float = 60.0
    total: int = 32 << 20
    root: int = 64 << 10
    timestamp: int = 16 << 10
    snapshot: int = 64 << 10
    targets: int = 256 << 10
    rotations: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is built into an installation, and no repository can change.

    Attributes:
        root: the trusted root metadata, or the file it lies in. tenant: whose policy. bundle: which bundle, by name.
        floors: the least version by role (`root`, `targets`, `models`, `privacy`, `snapshot`, `timestamp`) and by
            target path (`bundles/<name>`, `policies/<tenant>`): a wiped state would take an old repository.
        limits: what one refresh may cost.
        max_stale: the most seconds to serve without hearing from the publisher; None leaves it to the policy, whose
            own bound counts if it is the smaller.
    """

    root: bytes | Path
    tenant: str
    bundle: str
    floors: Mapping[str, int] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    max_stale: int | None = None

    def trusted_root(self) -> bytes:
        """Return the trusted root metadata's bytes.

        Raises:
            Missing, Unavailable: its file.
        """
        if isinstance(self.root, bytes):
            return self.root
        with reaching(self.root):
            return self.root.read_bytes()
