"""deploy/: every file there is held to the code that it starts, and to what it promises of rights and modes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from tests.commands import declared
from tests.shop import Clock, Shop

from entrenous_consent.errors import Refusal, Unavailable
from entrenous_consent.providers import EnvironmentKeyProvider, FileKeyProvider
from entrenous_edge.calls import MOST_BYTES
from entrenous_edge.config import _secret, read_config
from entrenous_edge.openapi import document
from entrenous_edge.protocol import HEADER_BYTES
from entrenous_edge.serve import _DRAIN_SECONDS, _settings

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
UNIT = (DEPLOY / "entrenous-worker.service").read_text("utf-8")
CONTAINER = (DEPLOY / "Containerfile").read_text("utf-8")
NGINX = (DEPLOY / "nginx.conf").read_text("utf-8")
PROXY = (DEPLOY / "entrenous-proxy.conf").read_text("utf-8")
MANIFESTS = (DEPLOY / "kubernetes" / "worker.yaml").read_text("utf-8")
PROJECT_TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
VERSION = PROJECT_TABLE["project"]["version"]
ROUTES = set(document()["paths"])
NOBODY = 10001


def manifests(kind: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(MANIFESTS) if one["kind"] == kind]


def pod() -> dict[str, Any]:
    (stateful,) = manifests("StatefulSet")
    return stateful["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def worker() -> dict[str, Any]:
    (one,) = pod()["containers"]
    return one  # type: ignore[no-any-return]


def settings() -> dict[str, Any]:
    (config,) = manifests("ConfigMap")
    return tomllib.loads(config["data"]["edge.toml"])


def test_the_routes_were_read():
    assert {"/livez", "/readyz", "/v1/decide", "/ofrep/v1/evaluate/flags"} <= ROUTES


# systemd


def unit(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def test_the_unit_starts_a_command_that_there_is_as_nobody_with_rights():
    (start,) = unit("ExecStart")
    program, command, *_ = shlex.split(start)
    assert Path(program).name in PROJECT_TABLE["project"]["scripts"]
    assert command in {point.name for point in declared(group="entrenous.commands")}
    assert unit("User") == unit("Group") == ["entrenous"]
    for key in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "MemoryDenyWriteExecute", "RestrictNamespaces"):
        assert unit(key) == ["yes"], key
    assert unit("ProtectSystem") == ["strict"]
    assert unit("CapabilityBoundingSet") == unit("AmbientCapabilities") == [""]


def test_the_unit_lets_only_state_and_keys_be_written_by_their_owner_alone():
    (written,) = unit("StateDirectory")
    assert written.split() == ["entrenous/state", "entrenous/keys"]
    assert unit("StateDirectoryMode") == ["0700"]
    assert unit("UMask") == ["0077"]
    assert not unit("ReadWritePaths")
    assert f"SQLITE_TMPDIR=/var/lib/{written.split()[0]}" in unit("Environment")


def test_the_unit_waits_longer_than_the_worker_drains():
    assert int(unit("TimeoutStopSec")[0]) > 2 * _DRAIN_SECONDS
    assert unit("Restart") == ["on-failure"]
    assert int(unit("LimitNOFILE")[0]) >= 4 * 2 * int(_settings(None, None).limit_concurrency or 0)  # type: ignore[arg-type]
    assert f"within {_DRAIN_SECONDS} seconds" in UNIT


def test_systemd_itself_takes_the_unit(tmp_path: Path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    path = tmp_path / "entrenous-worker.service"
    path.write_text(UNIT.replace("ExecStart=/opt/entrenous/bin/entrenous", f"ExecStart={shutil.which('true')}"))
    verified = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True)
    said = [line for line in verified.stderr.splitlines() if "entrenous-worker" in line]
    assert (verified.returncode, said) == (0, [])
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(path)]
    scored = subprocess.run(command, capture_output=True, text=True)
    assert scored.returncode == 0, scored.stdout[-200:]


# The container


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in CONTAINER.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def test_the_container_is_made_of_named_versions():
    for image in of("FROM"):
        assert re.match(r"\S+/python:3\.\d+-slim( AS \w+)?$", image), image
    everything = CONTAINER + MANIFESTS + UNIT
    assert ":latest" not in everything
    assert f"entrenous-worker:{VERSION} " in CONTAINER


def test_the_container_installs_the_extra_that_there_is_from_all_that_it_is_made_of():
    (install,) = [json.loads(one) for one in of("RUN") if "pip" in one]
    extra = re.fullmatch(r"\.\[(\w+)\]", install[-1])
    assert extra
    assert extra[1] in PROJECT_TABLE["project"]["optional-dependencies"]
    assert install[install.index("--constraint") + 1] == "constraints.txt"
    copied = {name for one in of("COPY") if not one.startswith("--") for name in one.split()[:-1]}
    for package in PROJECT_TABLE["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert package.split("/")[0] in copied, package
    for name in copied:
        assert (PROJECT / name).exists(), name
    assert {"pyproject.toml", "constraints.txt", PROJECT_TABLE["project"]["readme"], "LICENSE"} <= copied


def test_the_container_runs_as_nobody_and_without_a_shell():
    assert of("USER") == [f"{NOBODY}:{NOBODY}"]
    after = [name for name, _ in instructions()[instructions().index(("USER", f"{NOBODY}:{NOBODY}")) :]]
    assert "RUN" not in after
    for rest in (*of("ENTRYPOINT"), *of("CMD"), *of("RUN"), *of("VOLUME")):
        assert isinstance(json.loads(rest), list), f"{rest} would need a shell"
    (program,) = json.loads(of("ENTRYPOINT")[0])
    assert Path(program).name in PROJECT_TABLE["project"]["scripts"]
    assert json.loads(of("CMD")[0])[0] in {point.name for point in declared(group="entrenous.commands")}
    (made,) = [json.loads(one) for one in of("RUN") if "/var/lib/entrenous" in one]
    assert {f"--owner={NOBODY}", f"--group={NOBODY}", "--mode=0700"} <= set(made)
    assert of("STOPSIGNAL") == ["SIGTERM"]


def test_the_containers_health_is_a_route_on_the_port_that_is_shown():
    (check,) = of("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    port, path = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", command[-1]).groups()  # type: ignore[union-attr]
    assert path in ROUTES
    assert of("EXPOSE") == [port]
    compile(command[-1], "healthcheck", "exec")


# nginx


def test_the_proxy_passes_on_what_the_worker_takes_and_nothing_that_it_would_believe():
    assert "client_max_body_size 256k;" in NGINX
    assert MOST_BYTES == 256 << 10
    number, kibibytes = map(int, re.search(r"large_client_header_buffers (\d+) (\d+)k;", NGINX).groups())  # type: ignore[union-attr]
    assert number * kibibytes << 10 <= HEADER_BYTES
    assert "proxy_set_header Host $http_host;" in PROXY
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
        assert f'proxy_set_header {header} "";' in PROXY
    assert _settings(None, None).proxy_headers is False  # type: ignore[arg-type]


def test_the_proxy_lets_in_the_public_routes_alone():
    let_in = re.findall(r"^    location (\S+) \{$", NGINX, re.MULTILINE)
    assert let_in == ["/v1/", "/ofrep/v1/", "/preferences", "/"]
    public = {one for one in ROUTES if one not in ("/livez", "/readyz", "/openapi.json")}
    assert all(one.startswith(("/v1/", "/ofrep/v1/")) for one in public)
    assert re.search(r"location / \{\s+return 404;", NGINX)
    assert not re.search(r"^\s*(?:proxy_pass|listen) .*8081", NGINX + PROXY, re.MULTILINE)


def test_the_proxy_lets_go_of_a_connection_before_the_worker_does():
    seconds = int(re.search(r"keepalive_timeout (\d+)s; +# under", NGINX)[1])  # type: ignore[index]
    assert seconds < uvicorn.Config("x:y").timeout_keep_alive
    assert seconds < _settings(None, None).timeout_keep_alive  # type: ignore[arg-type]


def test_the_proxy_keeps_no_addresses_and_speaks_tls():
    assert "access_log off;" in NGINX
    assert re.findall(r"^    listen (.*);$", NGINX, re.MULTILINE) == ["443 ssl", "[::]:443 ssl"]
    assert "include /etc/nginx/entrenous-proxy.conf;" in NGINX


# Kubernetes


def test_its_configuration_is_one_that_the_worker_reads(tmp_path: Path, monkeypatch):
    (config,) = manifests("ConfigMap")
    text = config["data"]["edge.toml"]
    for name in ("admin.token", "shop.key"):
        (tmp_path / name).write_bytes(b"s" * 32)
        (tmp_path / name).chmod(0o400)
    path = tmp_path / "edge.toml"
    path.write_text(text.replace("/run/entrenous/", ""))
    read = read_config(path)
    assert isinstance(read.root_key, EnvironmentKeyProvider)
    monkeypatch.setenv("ENTRENOUS_ROOT_KEY", "ab" * 32)
    assert read.root_key.root() == b"\xab" * 32
    assert not read.state.is_relative_to(read.keys)
    assert not read.keys.is_relative_to(read.state)


def test_ports_and_probes_are_the_workers():
    ports = {one["name"]: one["containerPort"] for one in worker()["ports"]}
    assert settings()["listen"] == f"0.0.0.0:{ports['http']}"
    assert settings()["admin"] == f"0.0.0.0:{ports['admin']}"
    probes = {name: worker()[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {one["port"] for one in probes.values()} == {"http"}
    assert [one["path"] for one in probes.values()] == ["/livez", "/livez", "/readyz"]
    assert {one["path"] for one in probes.values()} <= ROUTES
    for service in manifests("Service"):
        for port in service["spec"]["ports"]:
            assert port["port"] == ports[port["targetPort"]]
        assert service["spec"]["publishNotReadyAddresses"] is True, "withdrawals reach a worker without a bundle"


def test_there_is_time_to_drain_and_one_store():
    (stateful,) = manifests("StatefulSet")
    assert stateful["spec"]["replicas"] == 1
    assert pod()["terminationGracePeriodSeconds"] > 2 * _DRAIN_SECONDS
    (budget,) = manifests("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    for claim in stateful["spec"]["volumeClaimTemplates"]:
        assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_nothing_in_the_pod_has_rights():
    context = pod()["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == NOBODY
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    for container in (*pod()["initContainers"], worker()):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["image"].endswith(f":{VERSION}")
        assert container["resources"]["limits"].keys() == {"memory"}


def test_all_that_the_worker_names_is_mounted_and_only_what_it_writes_can_be_written():
    mounts = {one["mountPath"]: one for one in worker()["volumeMounts"]}
    writable = {path for path, one in mounts.items() if not one.get("readOnly")}
    assert writable == {"/var/lib/entrenous/state", "/var/lib/entrenous/keys", "/tmp"}
    for key in ("state", "keys"):
        assert str(Path(settings()[key]).parent) in writable
    for key in ("admin_token_file", "token_key_file"):
        assert str(Path(settings()[key]).parent) == "/run/entrenous"
    volumes = {one["name"] for one in pod()["volumes"]}
    (stateful,) = manifests("StatefulSet")
    volumes |= {one["metadata"]["name"] for one in stateful["spec"]["volumeClaimTemplates"]}
    assert {one["name"] for one in mounts.values()} <= volumes
    assert f"SQLITE_TMPDIR={Path(settings()['state']).parent} " in of("ENV")[0]


def test_the_admin_port_is_reached_only_from_where_the_operator_says():
    (policy,) = manifests("NetworkPolicy")
    ports = {one["ports"][0]["port"]: one["from"] for one in policy["spec"]["ingress"]}
    assert set(ports) == {8080, 8081}
    for sources in ports.values():
        assert [set(one) for one in sources] == [{"namespaceSelector"}]
    assert ports[8081][0]["namespaceSelector"]["matchLabels"] == {"entrenous.example/operators": "true"}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["podSelector"]["matchLabels"] == pod_labels()


def pod_labels() -> dict[str, str]:
    (stateful,) = manifests("StatefulSet")
    return stateful["spec"]["template"]["metadata"]["labels"]  # type: ignore[no-any-return]


def test_the_secret_that_the_comment_makes_holds_what_is_taken_from_it():
    made = set(re.findall(r"--from-file=([\w.-]+)", MANIFESTS.partition("secret generic")[2].splitlines()[0]))
    (root,) = [one["valueFrom"]["secretKeyRef"] for one in worker()["env"]]
    taken = {item["key"] for one in pod()["volumes"] if "secret" in one for item in one["secret"]["items"]}
    assert made == taken | {root["key"]}


def kubelet(path: Path, *, read_only: bool) -> None:
    """What the kubelet does to a volume's files for `fsGroup`: the group is given, and its bits are set, whatever the
    mode was (kubernetes, pkg/volume/volume_linux.go: `rwMask` 0660, `roMask` 0440, directories 0110 and setgid)."""
    for one in (path, *path.rglob("*")):
        os.chown(one, -1, NOBODY)
        mode = stat.S_IMODE(one.stat().st_mode) | (0o440 if read_only else 0o660)
        one.chmod(mode | (stat.S_ISGID | 0o110 if one.is_dir() else 0))


@pytest.fixture
def pods(tmp_path: Path) -> Path:
    python = shutil.which("python3", path="/usr/bin:/bin")
    if os.geteuid() != 0 or python is None:
        pytest.skip("needs root, and a python3 that everybody can run")
    return Path(python)


def test_a_secret_as_it_is_mounted_is_refused_and_its_copy_is_taken(tmp_path_factory, pods: Path):
    import tempfile

    (init,) = pod()["initContainers"]
    (volume,) = [one["secret"] for one in pod()["volumes"] if "secret" in one]
    assert volume["defaultMode"] == 0o400
    with tempfile.TemporaryDirectory(prefix="entrenous-pod-", dir="/tmp") as home:
        base = Path(home)
        base.chmod(0o755)
        secrets, run = base / "secrets", base / "run"
        secrets.mkdir(0o755), run.mkdir(0o777)
        run.chmod(0o777)
        for item in volume["items"]:
            (secrets / item["path"]).write_bytes(b"s" * 32)
            (secrets / item["path"]).chmod(volume["defaultMode"])
        kubelet(secrets, read_only=True)
        kubelet(run, read_only=False)
        for item in volume["items"]:
            with pytest.raises(Unavailable, match="others may read it"):
                _secret(secrets / item["path"])
        code = init["command"][-1].replace("/secrets", str(secrets)).replace("/run/entrenous", str(run))
        for _ in range(2):  # a pod whose init container runs again finds its own copies
            command = [str(pods), *init["command"][1:-1], code]
            subprocess.run(command, check=True, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
        for item in volume["items"]:
            copy = run / item["path"]
            assert stat.S_IMODE(copy.stat().st_mode) == 0o400
            assert copy.stat().st_uid == NOBODY
            assert _secret(copy) == b"s" * 32
    named = {Path(settings()[key]).name for key in ("admin_token_file", "token_key_file")}
    assert named == {item["path"] for item in volume["items"]}


def test_a_volume_that_is_opened_to_the_group_again_would_open_its_keys(tmp_path: Path, pods: Path):
    key = tmp_path / "keys" / "root.key"
    key.parent.mkdir()
    FileKeyProvider(key).root()
    kubelet(tmp_path / "keys", read_only=False)
    with pytest.raises(Refusal, match="others may read it"):
        FileKeyProvider(key).root()
    assert pod()["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_a_store_below_such_a_volume_is_its_owners_alone(tmp_path: Path, pods: Path):
    """The group that the volume hands down opens nothing that the worker makes below it."""
    shop = Shop(tmp_path, Clock())
    volume = tmp_path / "volume"
    volume.mkdir()
    kubelet(volume, read_only=False)
    shop.publish()
    with shop.open_as_is(state=volume / "worker") as client:
        assert client.visitor("ada").consent(client.example_choices).accepted
    made = [one for one in (volume / "worker").rglob("*") if one.name != "lock"]
    assert made
    assert all(stat.S_IMODE(one.stat().st_mode) & 0o077 == 0 for one in (volume / "worker", *made))
