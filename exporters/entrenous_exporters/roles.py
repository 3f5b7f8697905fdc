"""Who signs. Nothing is imported here: the command line knows the roles before anything heavy is loaded."""

from __future__ import annotations

__all__ = ["OFFLINE", "ROLES"]

ROLES = ("root", "targets", "snapshot", "timestamp", "models", "privacy")
"""The roles that keys are made for: the four of TUF, and the two that are delegated."""

OFFLINE = ("root", "targets", "models", "privacy")
"""The roles that people sign for, each after what delegates to it."""
