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
from importlib.metadata import packages_distributions
owners = packages_distributions()
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
if not any(name.startswith("backports.") for name in sys.modules):
    loaded.discard("backports")  # urllib3 looks in this shared folder for one of its own, and finds an empty module
print(json.dumps(sorted({owner for name in loaded for owner in owners.get(name, ())})))
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
