"""What an updater verified, as the repository it came from: for others to fetch here, and to verify for themselves.

Nothing is signed or vouched for here. Whoever fetches it holds the trusted root of their own, and a copy that was
tampered with is refused by them as it would be from anywhere.
"""

from __future__ import annotations

import json
import re

from entrenous.updates.retained import State
from entrenous_consent.errors import Missing
from entrenous_consent.files import reaching

__all__ = ["published"]

_ROOT = re.compile(r"metadata/([1-9][0-9]{0,8})\.root\.json")
_ROLE = re.compile(r"metadata/(?:([1-9][0-9]{0,8})\.(snapshot|targets|models|privacy)|(timestamp))\.json")
_TARGET = re.compile(r"targets/(?:bundles|policies)/([0-9a-f]{64})\.[a-z][a-z0-9_]{0,63}")


def published(state: State, name: str) -> bytes | None:
    """Return a file of the repository by its name there, as `metadata/timestamp.json`; None for none.

    Raises:
        Unavailable: it can't be read.
    """
    if at := _ROOT.fullmatch(name):
        return _read(state, f"root_history/{at[1]}.root.json")
    if at := _ROLE.fullmatch(name):
        data = _read(state, f"{at[2] or at[3]}.json")
        return data if data is not None and at[1] in (None, _version(data)) else None
    if at := _TARGET.fullmatch(name):
        return state.kept(bytes.fromhex(at[1]))
    return None


def _read(state: State, name: str) -> bytes | None:
    path = state.metadata / name
    try:
        with reaching(path):
            return path.read_bytes()
    except Missing:
        return None


def _version(data: bytes) -> str:
    return str(json.loads(data)["signed"]["version"])
