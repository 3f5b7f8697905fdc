"""Supply: what the publisher signed, as this host has it; asked of the publisher, or read from disk.

Nothing here knows of visitors. The TUF client is loaded at the first visit, so that `import entrenous` is without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from entrenous.active import open_models
from entrenous.model.scorer import Scorer
from entrenous.updates.deployment import Deployment
from entrenous.updates.fetch import DirectorySource, HttpSource, Source
from entrenous.updates.retained import Busy, Found, Record, State, check_owner, found, policy_in_force, reject_in
from entrenous_consent.errors import Malformed, Missing, Refusal
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["Opened", "Supply", "source_of"]

_BRIEF_SECONDS = 2.0
"""How long a start waits for the publisher when what is retained could serve."""
_TURN_SECONDS = 0.05

Opened = tuple[Found, Mapping[str, Scorer], Refusal | None]
"""What serves, what scores with its models, and the refusal of a bundle whose models did not open."""


def source_of(source: Path | str | Source) -> Source:
    """Return where a repository's files come from: a directory, an address, or what is a source already.

    Raises:
        Malformed: the address is not https, or holds more than a host and a path.
    """
    if isinstance(source, Path):
        return DirectorySource(source)
    return HttpSource(source) if isinstance(source, str) else source


class Supply:
    """One deployment's source and state directory.

    Args:
        source: where the repository is. deployment: what is built in. directory: of the updater's state.
        clock: the updater's, Unix seconds.
    """

    def __init__(
        self, source: Path | str | Source, deployment: Deployment, directory: Path, clock: Callable[[], int]
    ) -> None:
        self._source, self.deployment, self.clock = source_of(source), deployment, clock
        self.state = State(directory)
        self._broken: set[bytes] = set()

    def first(self) -> tuple[Found, Refusal | None]:
        """Visit the repository once, at a start; return what serves, and why the newest does not.

        Raises:
            what the visit raised, where nothing is retained that could serve instead.
        """
        deadline = time.monotonic() + self.deployment.limits.seconds
        while True:
            try:
                visited = self.visit(brief=self._retained() is not None)
            except Busy as error:  # another process of this host is at it: what it finds serves here too
                kept, refused = self._retained(), None
                if kept is None and time.monotonic() < deadline:
                    time.sleep(_TURN_SECONDS)
                    continue
                problem: Refusal = error
            except Refusal as error:
                kept, refused, problem = self._retained(), error, error
            else:
                return visited, visited.refused
            if kept is None:
                raise problem
            return kept, refused

    def _retained(self) -> Found | None:
        try:
            return self.found(self.state.raw())
        except Missing:
            return None

    def visit(self, *, brief: bool = False) -> Found:
        """Visit the repository once; see `entrenous.updates.refresh.refresh`.

        Args:
            brief: wait two seconds at most.
        """
        from entrenous.updates.refresh import visit  # noqa: PLC0415 — loads the TUF client

        deployment = self.deployment
        if brief:
            limits = deployment.limits
            deployment = replace(deployment, limits=replace(limits, seconds=min(limits.seconds, _BRIEF_SECONDS)))
        return visit(self._source, self.state, deployment, now=self.clock())

    def record(self, raw: bytes | None) -> Record:
        """Return the updater's record in `raw`, as `State.raw` gave it.

        Raises:
            Malformed: it is broken, or of another deployment.
        """
        record = self.state.parse(raw)
        check_owner(record, self.deployment.tenant, self.deployment.bundle, str(self.state.directory))
        return record

    def found(self, raw: bytes | None) -> Found:
        """Return what serves by a record, judged now.

        Raises:
            Missing: nothing was ever taken. Malformed, Unauthentic, Unavailable: it can't be trusted or read.
        """
        return found(self.state, self.record(raw), self.clock(), self.deployment.floors, broken=self._broken)

    def policy(self, record: Record) -> PrivacyPolicy:
        """Return the policy that a record names.

        Raises:
            as `found`.
        """
        return policy_in_force(self.state, record, self.deployment.floors)[0]

    def broken(self, digest: bytes, record: Record) -> bool:
        """Say whether a bundle was rejected: by this record, or in this process."""
        return digest in self._broken or digest in record.rejected

    def reject(self, digest: bytes) -> Found:
        """Never take a bundle again; return what serves instead.

        Raises:
            Busy: another updater is at work; until the next try this process alone does without the bundle.
                Others: as `found`.
        """
        self._broken.add(digest)
        return reject_in(self.state, digest, now=self.clock(), floors=self.deployment.floors)

    def open_models(self, pair: Found, before: Mapping[bytes, Mapping[str, Scorer]]) -> Opened:
        """Open the models of what serves; a bundle whose models the runtime refuses is rejected, and the next serves.

        Args:
            before: models that are open already, by their bundle's digest.

        Raises:
            as `found`.
        """
        refused: Refusal | None = None
        while pair.bundle is not None:
            known = before.get(pair.bundle.digest)
            try:
                return pair, known if known is not None else open_models(pair.bundle), refused
            except Malformed as error:
                manifest = pair.bundle.manifest
                refused = Malformed(
                    f"version {manifest.version} {error.what}",
                    place=f"bundles/{manifest.name}: {error.place}",
                    remedy="publish a newer version; this one is not taken again",
                )
                pair = self._without(pair.bundle.digest)
        return pair, {}, refused

    def _without(self, digest: bytes) -> Found:
        try:
            return self.reject(digest)
        except Busy:
            return self.found(self.state.raw())
