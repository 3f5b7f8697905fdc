"""A policy that reads every kind of signal, and the committed strings."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from entrenous_consent.policy import PrivacyPolicy, parse_policy

VECTORS = Path(__file__).parent / "vectors"
TCF: dict[str, Any] = json.loads((VECTORS / "tcf.json").read_text("utf-8"))
GPP: dict[str, Any] = json.loads((VECTORS / "gpp.json").read_text("utf-8"))

DAY = 86_400
MADE = 1_795_132_800  # 2026-11-20T00:00:00Z, the day of the golden strings
NOW = MADE + DAY + 3600
VENDOR = 300
BANNER = "banner of the shop"

SIGNALS = f"""[signals]
tcf_vendor_id = {VENDOR}
tcf_publisher_purposes = true
cmps = ["{BANNER}", "another banner"]
gpc_yields_to_later_choice = false

[signals.consent_mode]
personalize = ["personalization_storage", "ad_personalization"]
history = ["functionality_storage"]
measure = ["analytics_storage"]
improve = ["ad_user_data"]
"""


def policy_text(signals: str = SIGNALS) -> str:
    """Return the demonstration's policy, with these signals; its purposes rest on consent and need TCF purposes 1 and
    6 (`personalize`), 1 and 5 (`history`), 1 and 8 (`measure`), 1 and 10 (`improve`, which leaves the terminal
    alone)."""
    text = (files("entrenous") / "demo" / "policy.toml").read_text("utf-8")
    written = "[signals]\ngpc_yields_to_later_choice = false\n"
    assert written in text
    return text.replace(written, signals)


def policy(signals: str = SIGNALS) -> PrivacyPolicy:
    """Return that policy, parsed."""
    return parse_policy(policy_text(signals).encode())


def golden(name: str, *, maker: str = "@iabtechlabtcf/core") -> str:
    """Return a golden TCF string."""
    return next(one["text"] for one in TCF["golden"] if (one["from"], one["name"]) == (maker, name))
