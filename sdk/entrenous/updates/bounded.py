"""A source as the TUF client takes it: counted in bytes and in seconds, over one whole refresh."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from entrenous.updates.deployment import Limits
from entrenous.updates.fetch import Source
from entrenous_consent.errors import Missing, Refusal, Unavailable

__all__ = ["Bounded"]


class Bounded(FetcherInterface):
    """A source as the TUF client takes it, for one refresh: counts bytes, and seconds from now on.

    Args:
        source: where files come from. limits: what this refresh may cost. timer: seconds, rising.
    """

    def __init__(self, source: Source, limits: Limits, timer: Callable[[], float] = time.monotonic) -> None:
        self._source, self._timer = source, timer
        self._end, self._left = timer() + limits.seconds, limits.total
        self._open: Iterator[bytes] = iter(())

    def close(self) -> None:
        """Let go of the last file. The client leaves one half read where it refuses it, and the refusal, as long as
        somebody keeps it, would hold its connection open."""
        close = getattr(self._open, "close", None)
        if close is not None:
            close()

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Yield chunks; a refusal of ours travels as the cause of the client's own error."""
        try:
            self.close()
            self._open = self._source.read(url, self._remaining(url))
            for chunk in self._open:
                self._left -= len(chunk)
                if self._left < 0:
                    raise Unavailable("is more than one refresh may fetch", place=url, remedy="raise Limits.total")
                self._remaining(url)
                yield chunk
        except Missing as error:
            raise DownloadHTTPError(error.what, 404) from error
        except Refusal as error:
            raise DownloadError(error.what) from error

    def _remaining(self, name: str) -> float:
        seconds = self._end - self._timer()
        if seconds <= 0:
            raise Unavailable("takes too long", place=name, remedy="try again later, or raise Limits.seconds")
        return seconds
