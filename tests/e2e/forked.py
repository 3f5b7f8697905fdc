"""A child of a test's process that is killed at a moment of the test's choosing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable


def killed_after(work: Callable[[int | None], None], delay: float | None) -> bool:
    """Have a forked child work; kill it `delay` seconds after it is ready. Return whether it came to its end.

    Args:
        work: takes the file descriptor to write one byte to when it is ready, None where it will not be killed; it ends
            the process.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        work(None if delay is None else writing)
    os.close(writing)
    if delay is not None:
        os.read(reading, 1)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return os.WIFEXITED(status)
