"""What stands in deploy/: units of systemd, a container, and the pins and hashes of what a device installs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files, requires
from pathlib import Path
from typing import Any

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.parsing import check

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
#: Of every unit, whatever else it says.
REQUIRED = {
    "DynamicUser": "yes",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectControlGroups": "yes",
    "LockPersonality": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "IPAddressDeny": "any",
}
EXTRAS = ("cpu", "stream", "serve", "video")  # as in the Makefile's lock


def entries(unit: Path) -> dict[str, list[str]]:
    """The values of each entry of [Service], in order."""
    text = unit.read_text().replace("\\\n", "")
    service = text.partition("[Service]\n")[2].partition("\n[")[0]
    values: dict[str, list[str]] = {}
    for line in service.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            values.setdefault(name, []).append(value)
    return values


each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)


@each_unit
def test_a_unit_gives_no_more_than_is_needed(unit: Path) -> None:
    values = entries(unit)
    assert {name: values.get(name) for name in REQUIRED} == {name: [value] for name, value in REQUIRED.items()}
    assert values["SystemCallFilter"] == ["@system-service", "~@privileged"]
    assert "MemoryMax" in values
    assert "TasksMax" in values


@each_unit
def test_the_command_of_a_unit_exists(unit: Path) -> None:
    (command,) = entries(unit)["ExecStart"]
    check(command.replace("${CREDENTIALS_DIRECTORY}", "/run/credentials"))
    assert not re.search(r"--token\b(?!-file)", command), "the list of processes would show the token"


@each_unit
def test_systemd_understands_a_unit(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("no systemd-analyze")
    copy = tmp_path / unit.name  # the program is not where the unit looks for it
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    done = subprocess.run([program, "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    words = [program, "security", "--offline=true", "--threshold=15", "--no-pager", str(copy)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:]


def test_only_serve_has_a_network() -> None:
    serve, stream = (
        entries(DEPLOY / "systemd/fdan-edge-serve.service"),
        entries(DEPLOY / "systemd/fdan-edge-stream.service"),
    )
    assert stream["PrivateNetwork"] == ["yes"]
    assert stream["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert (stream["SupplementaryGroups"], stream["DeviceAllow"]) == (["audio"], ["char-alsa rw"])
    assert "PrivateNetwork" not in serve
    assert (serve["IPAddressAllow"], serve["SocketBindAllow"]) == (["localhost"], ["tcp:8765"])
    assert serve["LoadCredential"] == ["token:/etc/fdan-edge/token"]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    yaml: Any = pytest.importorskip("yaml")
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())
    services: dict[str, Any] = content["services"]
    return services


@pytest.mark.parametrize("name", ["serve", "stream"])
def test_a_service_of_the_container_has_no_more_than_it_needs(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] != "0"
    assert {"mem_limit", "pids_limit"} <= set(service)
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert not {"privileged", "cap_add", "pid", "ipc"} & set(service)
    check(shlex.join(["fdan-edge", *service["command"]]))


def test_only_serve_has_a_network_in_the_container(services: dict[str, Any]) -> None:
    assert services["stream"]["network_mode"] == "none"
    assert "ports" not in services["stream"]
    assert services["serve"]["ports"] == ["127.0.0.1:8765:8765"]
    assert "network_mode" not in services["serve"]


def test_the_image_runs_as_nobody_and_installs_by_hash() -> None:
    text = (DEPLOY / "container/Containerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    kinds = [kind for kind, _ in steps]
    assert set(kinds) <= {"FROM", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "CMD"}  # ADD would fetch
    assert [words for kind, words in steps if kind == "USER"] == ["65532:65532"]
    assert kinds.index("USER") > max(number for number, kind in enumerate(kinds) if kind == "RUN")
    installs = [
        part for kind, words in steps if kind == "RUN" for part in words.split("&&") if "pip install" in part
    ]
    assert len(installs) == 2
    assert all("--require-hashes" in part or "--no-index" in part for part in installs)


def pins() -> dict[str, tuple[str, list[str]]]:
    """Version and SHA-256 hashes by name, of deploy/requirements.txt."""
    text = (DEPLOY / "requirements.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    kept: dict[str, tuple[str, list[str]]] = {}
    for line in lines:
        name, version = re.match(r"([\w.-]+)==(\S+) ", line).groups()  # type: ignore[union-attr]
        kept[canonicalize_name(name)] = (version, re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line))
        assert line.count("--hash") == len(kept[canonicalize_name(name)][1]), line[:80]
    return kept


def test_every_package_is_pinned_as_in_the_constraints_and_has_hashes() -> None:
    lines = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    tested: dict[str, str] = {canonicalize_name(name): version for name, version in lines}
    for name, (version, hashes) in pins().items():
        assert hashes, name
        assert len(set(hashes)) == len(hashes), name
        assert version == tested.get(name, version), name


def test_all_that_a_device_installs_is_there() -> None:
    """What `pip install --require-hashes` would miss, it refuses to install."""
    listed = pins()
    for requirement in _needed():
        name = canonicalize_name(requirement.name)
        assert name in listed, f"{name}: run `make lock`"
        assert requirement.specifier.contains(listed[name][0]), f"{requirement}: run `make lock`"


def test_compiled_packages_have_wheels_for_several_processors() -> None:
    """`make lock` asks pip whether those of x86-64 and arm64 are among them."""
    for name, (_, hashes) in pins().items():
        try:
            compiled = any(path.suffix == ".so" for path in files(name) or ())
        except PackageNotFoundError:  # of other systems
            continue
        assert len(hashes) >= (4 if compiled else 1), name


def _needed() -> Iterator[Requirement]:
    """All requirements of the extras on Linux, and theirs in turn, as far as these are installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + [
        text for extra in EXTRAS for text in project["optional-dependencies"][extra]
    ]
    waiting, seen = [Requirement(text) for text in texts], set[str]()
    while waiting:
        requirement = waiting.pop()
        wanted = (
            [requirement.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)]
            if (requirement.marker)
            else [True]
        )
        if not any(wanted):
            continue
        yield requirement
        if requirement.name not in seen:
            seen.add(requirement.name)
            try:
                waiting += [Requirement(text) for text in requires(requirement.name) or ()]
            except PackageNotFoundError:
                continue
