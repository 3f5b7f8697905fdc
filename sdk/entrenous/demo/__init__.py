"""The demonstration that ships inside the package: a policy and a small bundle, trained on a *generated* shop.

`entrenous_exporters.generated` makes both; the same seed gives the same bytes. Nothing here is secret: boundary and
experiment keys are fixed and public, so that the first answer is the same for everyone.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from entrenous.bundle import read_bundle

__all__ = ["PUBLIC_KEYS", "write_files"]

PUBLIC_KEYS = {
    "boundary": b"entrenous demo: a public key   1",
    "promotion_1": b"entrenous demo: a public key   2",
}
_LASTS = 365 * 86_400


def write_files(home: Path, now: int) -> tuple[Path, Path]:
    """Write the policy and the bundle, dated `now`, into `home`; return both paths."""
    packaged = files(__package__)
    policy, bundle = home / "policy.toml", home / "bundle.msgpack"
    policy.write_bytes(packaged.joinpath("policy.toml").read_bytes())
    shipped = read_bundle(packaged.joinpath("bundle.msgpack").read_bytes(), place="the packaged demonstration bundle")
    bundle.write_bytes(shipped.lasting(created=now, expires=now + _LASTS))
    return policy, bundle
