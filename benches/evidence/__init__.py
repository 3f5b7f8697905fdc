"""Longer proofs, whose output is kept in `docs/evidence`."""
