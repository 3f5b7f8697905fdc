"""The keys of the fideslang taxonomy, as data of our own: a policy speaks of data, uses and people with them.

`SPECIAL` are the categories that GDPR 9(1) and 10 protect more; `DEVICE` those that are read off a terminal, so that
ePrivacy 5(3) applies to them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["DEVICE", "SPECIAL", "Taxonomy", "load_taxonomy", "within"]

SPECIAL = (
    "user.authorization.biometric",
    "user.biometric",
    "user.criminal_history",
    "user.demographic.political_opinion",
    "user.demographic.race_ethnicity",
    "user.demographic.religious_belief",
    "user.demographic.sexual_orientation",
    "user.health_and_medical",
)
"""Special categories of personal data (GDPR 9(1)) and data about offences (GDPR 10), with all below them."""

DEVICE = (
    "user.behavior.browsing_history",
    "user.device",
    "user.location.precise",
    "user.sensor",
    "user.telemetry",
    "user.user_sensor",
)
"""What is stored on a terminal or read off it, with all below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxonomy:
    """Data categories and data subjects with their words by language, and data uses."""

    categories: Mapping[str, Mapping[str, str]]
    subjects: Mapping[str, Mapping[str, str]]
    uses: frozenset[str]

    def category(self, key: str, language: str) -> str:
        """Return a data category in words; its key where there are none."""
        return self.categories.get(key, {}).get(language, key)

    def subject(self, key: str, language: str) -> str:
        """Return a kind of people in words; its key where there are none."""
        return self.subjects.get(key, {}).get(language, key)


def load_taxonomy() -> Taxonomy:
    """Return the taxonomy that ships with this package."""
    text = (files("entrenous_consent.dpo") / "catalog" / "taxonomy.toml").read_text("utf-8")
    tables = tomllib.loads(text)
    return Taxonomy(
        categories=tables["categories"], subjects=tables["subjects"], uses=frozenset(map(str, tables["uses"]))
    )


def within(key: str, roots: tuple[str, ...]) -> bool:
    """Say whether a key is one of `roots` or stands below one."""
    return any(key == root or key.startswith(root + ".") for root in roots)
