"""What no bundle may ask for, whoever asks: raw addresses and scripts, known by their name or their data category.

A *raw address* (IP, MAC, e-mail) is an identifier: it singles out a household, a device or a person, hashed or not, and
a rule that lists addresses is a list of people. *Scripts* are code that nobody signed as such; a rule is data, bounded
and typed, and nothing here evaluates text.

A name is all that a declaration says of what an app will hand over, so that the check is one of words: it stops who
means well, and shows a DPO who does not.
"""

from __future__ import annotations

from entrenous_consent.parsing import Table

__all__ = ["REFUSED_CATEGORIES", "refuse_raw", "stands_for_raw"]

REFUSED_CATEGORIES = ("user.contact.email", "user.device.ip_address", "user.device.mac_address")
"""Fideslang data categories of raw addresses."""

_REMEDY = "supply what it stands for, such as a country, a region or a flag; see docs/targeting.md"
_ANYWHERE = (
    "email_address",
    "email_hash",
    "email_hashed",
    "email_md5",
    "email_sha1",
    "email_sha256",
    "forwarded_for",
    "hashed_email",
    "ip",
    "ip4",
    "ip6",
    "ipaddr",
    "ipaddress",
    "ips",
    "ipv4",
    "ipv6",
    "javascript",
    "js",
    "mac_addr",
    "mac_address",
    "mac_hash",
    "macaddress",
    "remote_addr",
    "remote_address",
    "remote_host",
    "script",
    "scripts",
)
"""Words, or words in a row, that stand for a raw address or a script wherever they stand in a name."""

_LAST = ("email", "emails", "e_mail", "mac")
"""Words that do where nothing follows: an `email` is an address, an `email_campaign` is none."""

_WHOLE = ("code", "snippet")
"""Words that do where they are the whole name: a `country_code` is no script."""


def stands_for_raw(name: str) -> bool:
    """Say whether a short key is what a raw address or a script would be called."""
    bounded = f"_{name}_"
    return (
        name in _WHOLE
        or any(f"_{words}_" in bounded for words in _ANYWHERE)
        or bounded.endswith(tuple(f"_{words}_" for words in _LAST))
    )


def refuse_raw(table: Table, *keys: str) -> None:
    """Refuse a declaration whose category, or whose name under one of `keys`, is that of a raw address or a script.

    Raises:
        Malformed: at the key that says so.
    """
    for key in keys:
        if stands_for_raw(table.name(key)):
            raise table.refuse(key, "is a raw address or a script", _REMEDY)
    category = table.text("category", longest=200)
    if any(category == one or category.startswith(one + ".") for one in REFUSED_CATEGORIES):
        raise table.refuse("category", "is that of a raw address", _REMEDY)
