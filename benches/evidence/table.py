"""Builds a feature table from generated events in a process of its own; prints what it cost as JSON.

`python -m benches.evidence.table EVENTS`: so many events, one moment for every twenty, forty features.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from tests.features import forty, schema

from entrenous_exporters.tables import feature_table, open_backend

DAYS = 90
EVENTS_A_VISITOR = 100
EVENTS_A_MOMENT = 20
END = 1_790_000_000

# A generated shop: hash() gives every row its own numbers, the same in every run.
_EVENTS = """
create table events as
select
  'v' || (i % {visitors}) as visitor,
  {end} - cast(hash(i * 7 + 1) % ({days} * 86400) as bigint) as time,
  ['view_item', 'view_item', 'view_item', 'add_to_cart', 'search', 'purchase'][1 + cast(hash(i * 7 + 2) % 6 as int)]
    as name,
  cast(100 + hash(i * 7 + 3) % 19900 as bigint) as price,
  cast(100 + hash(i * 7 + 3) % 19900 as bigint) as value,
  cast(1 as bigint) as quantity,
  'brand ' || (hash(i * 7 + 4) % 80) as brand,
  ['sandals', 'slippers', 'boots', 'sneakers', 'bags', 'belts'][1 + cast(hash(i * 7 + 5) % 6 as int)] as category
from range({events}) as numbers(i)
"""
_MOMENTS = """
create table moments as
select
  i as row,
  'v' || (i % {visitors}) as visitor,
  {end} - cast(hash(i * 7 + 6) % ({days} * 43200) as bigint) as time
from range({moments}) as numbers(i)
"""


def build(events: int) -> dict[str, float]:
    """Return the events, the moments, seconds, and the most memory that the process held, in bytes."""
    visitors, moments = max(1, events // EVENTS_A_VISITOR), events // EVENTS_A_MOMENT
    backend = open_backend(threads=2)
    said = {"events": events, "visitors": visitors, "moments": moments, "end": END, "days": DAYS}
    for statement in (_EVENTS, _MOMENTS):
        backend.raw_sql(statement.format(**said))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    table = feature_table(backend, schema(*forty()), backend.table("events"), backend.table("moments"))
    seconds = time.perf_counter() - start
    assert table.rows.shape == (moments, 40)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"events": events, "moments": moments, "seconds": seconds, "generated": before, "peak": peak}


if __name__ == "__main__":
    print(json.dumps(build(int(sys.argv[1]))))
