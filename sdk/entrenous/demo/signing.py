"""The packaged policy and bundle, signed in memory at start: the demonstration takes the same road as the real thing.

Every key is made here and dropped when the signatures are: nobody can sign for this repository again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from securesystemslib.signer import CryptoSigner

from entrenous import demo
from entrenous.updates.deployment import Deployment
from entrenous.updates.fetch import MemorySource
from entrenous.updates.layout import OFFLINE_THRESHOLD, TOP, repository_files
from entrenous.updates.verify import DELEGATIONS

__all__ = ["signed_now"]

_LASTS = timedelta(days=365)


def signed_now(now: int) -> tuple[MemorySource, Deployment]:
    """Return a repository that was signed at `now` (Unix seconds), and what trusts it."""
    signers = {
        role: [CryptoSigner.generate_ed25519() for _ in range(OFFLINE_THRESHOLD if role in ("root", "targets") else 1)]
        for role in (*TOP, *DELEGATIONS)
    }
    targets = {
        f"{DELEGATIONS['privacy']}{demo.TENANT}": (1, demo.policy_bytes()),
        f"{DELEGATIONS['models']}{demo.BUNDLE}": (1, demo.bundle_bytes(now)),
    }
    ends = datetime.fromtimestamp(now, UTC) + _LASTS
    files = repository_files(signers, targets, lambda role: ends)
    root = files["metadata/1.root.json"]
    return MemorySource(files), Deployment(root=root, tenant=demo.TENANT, bundle=demo.BUNDLE)
