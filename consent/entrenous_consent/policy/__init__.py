"""The privacy policy: the DPO's TOML, parsed once into values that can be trusted from there on.

::

    model   what a policy says, and what it permits a bundle
    parse   the document, read key by key

`parse_policy` refuses every unknown key and every missing duty; `PrivacyPolicy.permits` answers, for what a bundle
asks, the refusals sorted by path (none means permitted). Nothing here reads a file, a clock or a visitor.
The document itself is described in `docs/formats.md`.
"""

from __future__ import annotations

from entrenous_consent.policy.model import (
    METRICS,
    RIGHTS,
    AskedDecision,
    AskedFeature,
    AskedTrigger,
    DeclaredDecision,
    FeatureRule,
    Identifier,
    Message,
    Party,
    PrivacyPolicy,
    Purpose,
    Report,
    Request,
    Rights,
    Transfer,
)
from entrenous_consent.policy.parse import (
    CONSENT_KEY,
    EFFECTS,
    INFERENCES,
    METHODS,
    POLICY_LIMIT,
    SAFEGUARDS,
    parse_policy,
)

__all__ = [
    "CONSENT_KEY",
    "EFFECTS",
    "INFERENCES",
    "METHODS",
    "METRICS",
    "POLICY_LIMIT",
    "RIGHTS",
    "SAFEGUARDS",
    "AskedDecision",
    "AskedFeature",
    "AskedTrigger",
    "DeclaredDecision",
    "FeatureRule",
    "Identifier",
    "Message",
    "Party",
    "PrivacyPolicy",
    "Purpose",
    "Report",
    "Request",
    "Rights",
    "Transfer",
    "parse_policy",
]
