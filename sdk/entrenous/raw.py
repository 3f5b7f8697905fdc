"""What no bundle may ask for, whoever asks: raw addresses and scripts, known by their name or their data category.

A *raw address* (IP, MAC, e-mail) is an identifier: it singles out a household, a device or a person, hashed or not, and
a rule that lists addresses is a list of people. *Scripts* are code that nobody signed as such; a rule is data, bounded
and typed, and nothing here evaluates text.

A name is all that a declaration says of what an app will hand over, so that the check is one of words: it stops who
means well, and shows a DPO who does not.
"""

from __future__ import annotations

from entrenous_consent.parsing import Table

__all__ = ["REFUSED_CATEGORIES", "REFUSED_NAMES", "refuse_raw"]

REFUSED_CATEGORIES = ("user.contact.email", "user.device.ip_address", "user.device.mac_address")
"""Fideslang data categories of raw addresses."""

REFUSED_NAMES = frozenset(
    {
        "client_ip",
        "code",
        "email",
        "email_address",
        "ip",
        "ip_address",
        "ipv4",
        "ipv6",
        "javascript",
        "js",
        "mac",
        "mac_address",
        "remote_addr",
        "remote_address",
        "script",
        "user_ip",
        "x_forwarded_for",
    }
)
"""What a raw address or a script would be called."""


def refuse_raw(table: Table, *keys: str) -> None:
    """Refuse a declaration whose category, or whose name under one of `keys`, is that of a raw address or a script.

    Raises:
        Malformed: at the key that says so.
    """
    for key in keys:
        if table.name(key) in REFUSED_NAMES:
            raise table.refuse(key, "is a raw address or a script", _REMEDY)
    category = table.text("category", longest=200)
    if any(category == one or category.startswith(one + ".") for one in REFUSED_CATEGORIES):
        raise table.refuse("category", "is that of a raw address", _REMEDY)


_REMEDY = "supply what it stands for, such as a country, a region or a flag; see docs/targeting.md"
