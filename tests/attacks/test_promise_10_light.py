"""Promise 10, light where it runs: what `import entrenous` pulls in, and what the distribution asks for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import requires

ALLOWED = {"cryptography", "msgpack", "numpy", "onnxruntime", "tuf"}

_PROBE = """
import json, sys
before = set(sys.modules)
from entrenous import Client
with Client.demo() as client:
    visitor = client.visitor("customer-42")
    visitor.consent(client.example_choices)
    assert visitor.decide("promotion", default="none").reason == "TARGETING_MATCH"
from importlib.metadata import distribution, packages_distributions
owners, loaded = packages_distributions(), set(sys.modules) - before
if not any(name.startswith("backports.") for name in loaded):
    loaded.discard("backports")  # urllib3 looks in this shared folder for one of its own, and finds an empty module
found, shared = set(), set()
for name in loaded:
    several = set(owners.get(name.partition(".")[0], ()))
    if len(several) > 1:  # a folder that they share, as google is: whose file it is says whose module
        shared |= several
    else:
        found |= several
files = {getattr(sys.modules[name], "__file__", None) for name in loaded}
for one in shared:
    told = distribution(one)
    if any(str(told.locate_file(path)) in files for path in told.files):
        found.add(one)
print(json.dumps(sorted(found)))
"""
_THEIRS = {"cffi", "pycparser", "flatbuffers", "protobuf", "ml_dtypes", "packaging", "securesystemslib", "urllib3"}
"""What the allowed ones bring along."""


def test_a_decision_loads_nothing_but_the_core():
    run = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    assert set(json.loads(run.stdout)) <= ALLOWED | _THEIRS | {"entrenous"}


def test_the_distribution_requires_nothing_but_the_core():
    core = {re.match(r"[\w-]+", line).group() for line in requires("entrenous") if "extra ==" not in line}
    assert core
    assert core <= ALLOWED
