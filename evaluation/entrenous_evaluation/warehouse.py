"""The warehouse: every report that was received, its very bytes and nothing derived, in one DuckDB file.

The file is opened for each use and let go of at once, so that an evaluation can read while a collector runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from entrenous.loop.reports import CrowdReport, read_report
from entrenous_consent.errors import Forbidden, Malformed, Missing, Unavailable

__all__ = ["Warehouse"]

_SCHEMA = """
create table if not exists reports (
  id blob primary key, tenant varchar not null, experiment varchar not null, sender varchar not null,
  received bigint not null, data blob not null)
"""
_WAIT_SECONDS = 5.0
_STEP_SECONDS = 0.02


class Warehouse:
    """The reports of any number of tenants.

    Args:
        path: the file; made by the first `add`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, report: CrowdReport, data: bytes, *, sender: str, now: int) -> bool:
        """Keep a report; say whether it is new.

        Raises:
            Forbidden: another report has its id. Unavailable, Malformed: the file.
        """
        with self._open() as database:
            database.execute(_SCHEMA)
            known = database.execute("select data from reports where id = ?", [report.id]).fetchone()
            if known is not None:
                if known[0] != data:
                    raise Forbidden(
                        "is another report under a known id", place="report", remedy="send it as it was made"
                    )
                return False
            row = [report.id, report.tenant, report.experiment, sender, now, data]
            database.execute("insert into reports values (?, ?, ?, ?, ?, ?)", row)
        return True

    def reports(self, *, tenant: str = "", experiment: str = "") -> list[CrowdReport]:
        """Return what was received, oldest first; all of it where nothing is named.

        Raises:
            Missing: there is no such file. Unavailable, Malformed: it can't be read.
        """
        if not self.path.is_file():
            raise Missing("is not there", place=str(self.path), remedy="collect reports first, or check --database")
        with self._open(read_only=True) as database:
            rows = database.execute(
                "select data from reports where ? in ('', tenant) and ? in ('', experiment) order by received, rowid",
                [tenant, experiment],
            ).fetchall()
        return [read_report(data) for (data,) in rows]

    @contextmanager
    def _open(self, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                database = duckdb.connect(str(self.path), read_only=read_only)
                break
            except duckdb.IOException as error:
                if "lock" not in str(error) or time.monotonic() > deadline:
                    what = f"cannot be opened ({type(error).__name__})"
                    raise Unavailable(
                        what, place=str(self.path), remedy="check who has it open, its owner, the disk"
                    ) from error
                time.sleep(_STEP_SECONDS)
            except duckdb.Error as error:
                raise Malformed("is not a DuckDB file", place=str(self.path), remedy="choose another file") from error
        try:
            yield database
        except duckdb.CatalogException as error:
            raise Malformed(
                "is not a warehouse of reports", place=str(self.path), remedy="choose another file"
            ) from error
        except duckdb.Error as error:
            what = f"cannot be used ({type(error).__name__})"
            raise Unavailable(what, place=str(self.path), remedy="check the disk") from error
        finally:
            database.close()
