"""The demonstration that ships inside the package: a policy and a small bundle, trained on a *generated* shop.

`entrenous_exporters.generated` makes both; the same seed gives the same bytes. Nothing here is secret: boundary and
experiment keys are fixed and public, so that the first answer is the same for everyone.
"""

from __future__ import annotations

from importlib.resources import files

from entrenous.bundle import read_bundle

__all__ = ["BUNDLE", "PUBLIC_KEYS", "TENANT", "bundle_bytes", "policy_bytes"]

TENANT, BUNDLE = "demo_shop", "demo_promotions"
"""Whose policy it is, and the bundle's name."""

PUBLIC_KEYS = {
    "boundary": b"entrenous demo: a public key   1",
    "promotion_1": b"entrenous demo: a public key   2",
}
_LASTS = 365 * 86_400


def policy_bytes() -> bytes:
    """Return the packaged policy."""
    return files(__package__).joinpath("policy.toml").read_bytes()


def bundle_bytes(now: int) -> bytes:
    """Return the packaged bundle, dated `now` (Unix seconds)."""
    data = files(__package__).joinpath("bundle.msgpack").read_bytes()
    shipped = read_bundle(data, place="the packaged demonstration bundle")
    return shipped.lasting(created=now, expires=now + _LASTS)
