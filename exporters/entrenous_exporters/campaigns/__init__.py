"""Campaigns: what a merchandiser writes down, and what becomes of it.

`form` reads the file, `lines` says where in it something stands, `making` turns it into a decision of a bundle, `check`
warns of what will not work, `plan` says what the comparison needs. Nothing here decides for anybody: a person signs.
"""

from __future__ import annotations

from entrenous_exporters.campaigns.form import Campaign, parse_campaign, read_campaign
from entrenous_exporters.campaigns.making import decision_of

__all__ = ["Campaign", "decision_of", "parse_campaign", "read_campaign"]
