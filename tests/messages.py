"""A policy that names messages and their recipients, for tests."""

from __future__ import annotations

from importlib.resources import files

PURPOSE = """
[purposes.{key}]
title = {{ en = "Be reminded", fr = "Recevoir un rappel" }}
data_use = "marketing.communications.email"
dpv = "dpv:DirectMarketing"
legal_basis = "consent"
terminal = "consent"
consent_version = 1
lifetime_days = 180
[purposes.{key}.description]
en = "Tell the mailer when to send you a reminder."
fr = "Dire au prestataire d'envoi quand vous envoyer un rappel."
"""
MESSAGE = """
[[recipients]]
name = "{recipient}"
contact = "privacy@mailer.example"
country = "FR"

[[messages]]
name = "{name}"
purpose = "{purpose}"
recipient = "{recipient}"
host = "{host}"
"""
MAILER, PARCELS = "Mailer (fictional)", "Parcels (fictional)"
POLICY_TEXT = "".join(
    (
        (files("entrenous") / "demo" / "policy.toml").read_text("utf-8"),
        PURPOSE.format(key="message"),
        MESSAGE.format(name="reminder", purpose="message", recipient=MAILER, host="127.0.0.1"),
    )
)
"""The demonstration's policy, and a message to one recipient on this very host."""

SECOND = MESSAGE.format(name="delivery", purpose="message", recipient=PARCELS, host="hooks.parcels.example")
