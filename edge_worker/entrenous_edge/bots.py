"""Who is left out as a bot, by a stated rule: a `User-Agent` that says so. Nothing is decided for one, kept or counted.

A rule that anyone can read beats one that guesses: what does not call itself a bot is a visitor. A phone maker's name
ends in these letters too, and is none.
"""

from __future__ import annotations

import re

__all__ = ["BOT_WORDS", "is_bot"]

BOT_WORDS = (
    "bot",
    "crawl",
    "spider",
    "slurp",
    "archiver",
    "facebookexternalhit",
    "lighthouse",
    "pagespeed",
    "pingdom",
    "uptime",
    "preview",
)
"""What a user agent that is a bot contains, in any case."""

_RULE = re.compile("(?<!cu)bot|" + "|".join(BOT_WORDS[1:]), re.IGNORECASE)


def is_bot(user_agent: str) -> bool:
    """Say whether a user agent calls itself a bot; of a very long one the first 1,000 characters count."""
    return _RULE.search(user_agent, 0, 1000) is not None
