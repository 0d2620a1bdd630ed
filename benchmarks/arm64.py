"""The slim runtime on the architecture of a Jetson, without one: `make arm64`.

Builds the pure-Python wheel, installs it with its [cpu] extra in an arm64 Debian that QEMU runs, tries every verb
of a device there, compares its probabilities with those of this machine, and runs the runtime's tests. It proves
that the numbers are right, not how fast they come: times under emulation say nothing, and none is kept.

    python benchmarks/arm64.py [BUNDLE RECORDING...] [--out JSON]

Without arguments: the bundle of the tests' tiny run and its synthetic voices. Needs root, Debian's debootstrap and
qemu-user-static. The arm64 system stays in --cache for the next run. pip's index is the one that pip is set to;
DEBIAN_MIRROR names another mirror than debootstrap's own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fdan_edge.utils.files import cache_home, sha256, write_json

ROOT = Path(__file__).resolve().parents[1]
PIP = (sys.executable, "-m", "pip")
#: Python 3.11: between that of JetPack 6 (3.10) and of JetPack 7 (3.12), for which pip's resolver is asked.
SUITE, PYTHON = "bookworm", "3.11"
JETPACKS = {"3.10": 35, "3.12": 39}  # Python -> newest manylinux of its Ubuntu, by glibc's minor version
#: Orin's cores are A78AE: the same ARMv8.2 with dot products and half precision.
CPU = "cortex-a76"
QEMU = "/usr/bin/qemu-aarch64-static"
#: The greatest difference of a probability from this machine's. In int8, a value that falls on the other side of a
#: rounding moves by a whole step, and the layers behind it too: 0.023 was seen with the tests' barely trained run.
LIMITS = {"fp32": 1e-4, "int8": 0.05}
#: Tests of what a device runs. What needs a package of training is skipped there, or stands in LEFT_OUT.
TESTS = (
    "tests/audio/test_decode.py",
    "tests/cli/test_scan.py",
    "tests/data/test_labels.py",
    "tests/data/test_scan.py",
    "tests/profiling/test_bench.py",
    "tests/profiling/test_cold_start.py",
    "tests/profiling/test_compare.py",
    "tests/profiling/test_doctor.py",
    "tests/profiling/test_roofline.py",
    "tests/runtime/tensorrt/test_compatibility.py",
    "tests/runtime/test_bundle.py",
    "tests/runtime/test_manifest.py",
    "tests/runtime/test_model_spec.py",
    "tests/runtime/test_opening.py",
    "tests/runtime/test_recognition.py",
    "tests/runtime/test_runner_choice.py",
    "tests/test_errors.py",
    "tests/test_slim.py",
    "tests/utils/test_files.py",
    "tests/utils/test_gpu.py",
    "tests/utils/test_machine.py",
)
LEFT_OUT = (
    "tests/runtime/test_opening.py::test_damaged_run",
    "tests/profiling/test_doctor.py::test_what_is_installed_works",
    "tests/profiling/test_doctor.py::test_the_compiled_lmmd_is_found",
    "tests/profiling/test_doctor.py::test_missing_package[torchvision",
    "tests/profiling/test_doctor.py::test_an_lmmd_that_is_not_compiled_works_and_says_why",
    "tests/profiling/test_doctor.py::test_an_lmmd_that_is_compiled_for_other_gpus",
    # of the [video] extra
    "tests/data/test_scan.py::test_videos_are_opened",
    "tests/cli/test_scan.py::test_scan_names_duplicates_and_files_without_a_label",
    # of real hardware: ONNX Runtime warns that it knows no such processor, the emulator's memory counts too,
    # and its speed is no processor's
    "tests/runtime/test_opening.py::test_opening_a_model_prints_nothing",
    "tests/profiling/test_cold_start.py::test_peak_memory_is_that_of_the_fresh_process",
    "tests/profiling/test_roofline.py::test_this_processor_is_measured",
)
#: The test whose fixtures train the tests' tiny run and export it.
MAKES_BUNDLE = "tests/runtime/test_recognition.py::test_bundle_and_run_name_the_same_emotions"
#: Packages of the slim installation with compiled parts, whose versions are noted.
PACKAGES = ("numpy", "onnxruntime", "soundfile", "soxr")
#: What the tests themselves import, beside the slim installation, so that this one stays slim.
TEST_PACKAGES = ("pytest", "packaging", "onnx", "pillow", "pluggy", "iniconfig", "ml-dtypes")

BINFMT = Path("/proc/sys/fs/binfmt_misc")
# 64-bit little-endian ELF for machine 183; O: the file is opened by the kernel, F: QEMU is found outside a chroot.
_MAGIC = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
_MASK = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
RULE = f":fdan-edge-aarch64:M::{_MAGIC}:{_MASK}:{QEMU}:OCF"


def say(text: str) -> None:
    print(text, flush=True)


def stop(text: str) -> None:
    """End with a line for the person at the keyboard."""
    sys.stderr.write(f"error: {text}\n")
    raise SystemExit(2)


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Standard output of a command; its last words end the script where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env, cwd=cwd)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        sys.stderr.write(f"{said[-4000:]}\nerror: {' '.join(words)[:300]} failed with code {done.returncode}\n")
        raise SystemExit(1)
    return done.stdout


def check_tools() -> None:
    missing = [name for name in ("debootstrap", "qemu-aarch64-static") if not shutil.which(name)]
    if missing:
        stop(f"{' and '.join(missing)} not found: apt-get install debootstrap qemu-user-static")
    if os.geteuid():
        stop("an arm64 system can be made and entered by root only: run make arm64 as root")


@contextmanager
def emulation() -> Iterator[None]:
    """Arm64 programs run on this machine while the block does; the kernel is left as it was found."""
    if os.uname().machine == "aarch64" or any("aarch64" in path.name for path in BINFMT.glob("*")):
        yield
        return
    mounted, rule = False, BINFMT / "fdan-edge-aarch64"
    try:
        if not (BINFMT / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True)
            mounted = True
        (BINFMT / "register").write_text(RULE)
    except (OSError, subprocess.CalledProcessError):
        stop("this kernel does not let QEMU be registered for arm64 programs: apt-get install binfmt-support")
    try:
        yield
    finally:
        rule.write_text("-1")  # takes the rule away
        if mounted:
            subprocess.run(["umount", str(BINFMT)], check=False)


class Device:
    """An arm64 Debian in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *command: str, env: dict[str, str] | None = None) -> str:
        """Run a command inside; gives its standard output."""
        enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        path = "/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        own = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "QEMU_CPU": CPU}
        # In a mount namespace of its own, so that nothing stays mounted.
        return run(
            "unshare", "--mount", "sh", "-c", enter, self.folder, *command, env=own | (env or {}), cwd=Path("/")
        )

    def take(self, source: Path, name: str) -> str:
        """Copy a file or folder in, in the place of an earlier one; gives its path inside."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        return f"/{name}"


def debian(cache: Path) -> Device:
    """The arm64 system, made where it is not there yet."""
    folder = cache / f"{SUITE}-arm64"
    if not folder.exists():
        say(f"making an arm64 Debian ({SUITE}) in {folder}: some minutes, once")
        cache.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        mirror = [os.environ["DEBIAN_MIRROR"]] if "DEBIAN_MIRROR" in os.environ else []
        run("debootstrap", "--arch=arm64", "--variant=minbase", "--include=python3", SUITE, partial, *mirror)
        Device(partial)("python3", "-m", "venv", "--without-pip", "/venv")
        # Pure Python, so that this machine can put it there: ensurepip takes minutes under emulation.
        packages = partial / "venv" / "lib" / f"python{PYTHON}" / "site-packages"
        run(*PIP, "install", "-q", "--no-compile", "--target", packages, "pip")
        partial.rename(folder)
    return Device(folder)


def build_wheel(folder: Path) -> Path:
    """The wheel that a device installs, made of a source distribution, so that nothing built earlier gets in."""
    pure = {k: v for k, v in os.environ.items() if not k.startswith("FDAN_EDGE_")} | {"FDAN_EDGE_NATIVE": "0"}
    run(sys.executable, "setup.py", "-q", "sdist", "-d", folder, env=pure, cwd=ROOT)
    (source,) = folder.glob("*.tar.gz")
    run(*PIP, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source, env=pure)
    (wheel,) = folder.glob("*.whl")
    if not wheel.name.endswith("-py3-none-any.whl"):
        stop(f"{wheel.name} is not pure Python")
    return wheel


def platform_options(python: str, glibc: int) -> list[str]:
    """pip's options for wheels of an arm64 machine."""
    tags = [f"manylinux_2_{minor}_aarch64" for minor in range(glibc, 16, -1)] + ["manylinux2014_aarch64"]
    return ["--only-binary=:all:", f"--python-version={python}", *(f"--platform={tag}" for tag in tags)]


def resolve(wheel: Path, python: str, glibc: int) -> dict[str, str]:
    """What pip would install with the wheel on an arm64 machine with this Python."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        run(
            *PIP, "install", "-q", "--dry-run", "--ignore-installed", "--target", folder,
            *platform_options(python, glibc), "--report", report, f"{wheel}[cpu]",
        )  # fmt: skip
        made = json.loads(report.read_text())["install"]
    versions = {entry["metadata"]["name"]: entry["metadata"]["version"] for entry in made}
    return {name: versions[name] for name in PACKAGES}


def install(device: Device, wheel: Path, cache: Path) -> None:
    """The wheel with its [cpu] extra, and beside it what the tests import; from files, without a network."""
    wheels = cache / "wheels"
    same = ["-c", str(ROOT / "constraints.txt")]  # versions as here
    common = [*PIP, "download", "-q", "-d", str(wheels), *platform_options(PYTHON, 36), *same]
    run(*common, f"{wheel}[cpu]")
    run(*common, "--no-deps", *TEST_PACKAGES)
    shutil.copy(wheel, wheels)  # pip leaves one of the same name, which an earlier run made of other code
    device.take(wheels, "wheels")
    pip = ("/venv/bin/python", "-m", "pip", "install", "-q", "--no-compile")
    offline = (*pip, "--no-index", "--find-links=/wheels")
    device(*offline, "fdan-edge[cpu]")
    device(*offline, "--no-deps", "--force-reinstall", f"/wheels/{wheel.name}")
    kept = device.folder / "overlay.sha256"
    digest = hashlib.sha256("\n".join(sorted(path.name for path in wheels.iterdir())).encode()).hexdigest()
    if not kept.exists() or kept.read_text() != digest:
        shutil.rmtree(device.folder / "overlay", ignore_errors=True)
        device(*offline, "--no-deps", "--target=/overlay", *TEST_PACKAGES)
        kept.write_text(digest)


def tests_own(cache: Path) -> Path:
    """The folder with the tests' tiny run, its bundle and its voices, made anew by the code that is here."""
    folder = cache / "made"
    shutil.rmtree(folder, ignore_errors=True)
    say("training the tests' tiny run and exporting it")
    environment = {**os.environ, "FDAN_EDGE_TEST_FOLDER": str(folder)}
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", MAKES_BUNDLE, env=environment, cwd=ROOT)
    return folder


def infer(command: Callable[..., str], model: str, recordings: Iterable[str]) -> list[dict[str, Any]]:
    """What `fdan-edge infer` says of recordings, one entry each."""
    return [json.loads(line) for line in command("infer", model, *recordings, "--json").splitlines()]


def compare(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """The largest difference of a probability, and how many recordings have another label."""
    if len(ours) != len(theirs) or not ours:
        stop(f"{len(ours)} recordings were named here, {len(theirs)} there")
    gaps, flips = [], 0
    for one, other in zip(ours, theirs, strict=True):
        flips += one["emotion"] != other["emotion"]
        gaps += [abs(p - other["probabilities"][label]) for label, p in one["probabilities"].items()]
    return {"recordings": len(ours), "largest_difference": round(max(gaps), 6), "other_labels": flips}


def run_tests(device: Device, made: Path) -> dict[str, Any]:
    """Run the runtime's tests inside; gives their counts."""
    device.take(ROOT / "tests", "work/tests")
    device.take(ROOT / "pyproject.toml", "work/pyproject.toml")
    device.take(made, "made")
    left_out = [f"--deselect={name}" for name in LEFT_OUT]
    environment = {"PYTHONPATH": "/overlay", "FDAN_EDGE_TEST_FOLDER": "/made"}
    pytest = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=/work/tests.xml")
    command = (*pytest, *left_out, *TESTS)
    device("sh", "-c", 'cd /work && exec "$@"', "sh", *command, env=environment)
    suite = xml.etree.ElementTree.parse(device.folder / "work/tests.xml").getroot()[0]
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    return {"passed": counts["tests"] - sum(list(counts.values())[1:]), **counts, "files": list(TESTS)}


def try_verbs(device: Device, bundle: Path, recordings: list[Path]) -> dict[str, Any]:
    """Every verb of a device on every model of a bundle for CPUs, and its answers beside this machine's."""
    inside = device.take(bundle, "bundle")
    shutil.rmtree(device.folder / "recordings", ignore_errors=True)
    # Numbered: recordings of different folders may have the same name.
    heard = [device.take(p, f"recordings/{i:04}{p.suffix}") for i, p in enumerate(recordings)]

    def there(*words: str) -> str:
        return device("/venv/bin/fdan-edge", *words)

    def here(*words: str) -> str:
        return run(sys.executable, "-m", "fdan_edge", *words, cwd=ROOT)

    say(there("--version").strip())
    say(there("doctor").strip())
    models = {}
    for name, precision in models_for_cpu(bundle):
        ours = infer(here, str(bundle / name), map(str, recordings))
        theirs = infer(there, f"{inside}/{name}", heard)
        models[name] = compare(ours, theirs) | {"limit": LIMITS[precision], "sha256": sha256(bundle / name)}
        say(f"{name}: {models[name]}")
    rows = json.loads(there("bench", inside, "--runs", "5", "--json"))["latency"]
    if not rows or not all(row["p50"] > 0 for row in rows):
        stop("bench timed nothing")
    return models


def models_for_cpu(bundle: Path) -> list[tuple[str, str]]:
    """The bundle's ONNX files that are made for CPUs, with their precision."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    found = [(entry["file"], entry["precision"]) for entry in manifest["artifacts"] if "cpu" in entry["targets"]]
    if not found:
        stop(f"{bundle}: holds no model for CPUs; `fdan-edge export RUN --target cpu --out {bundle}` makes one")
    return found


_VERSIONS = """
import json, platform, sys
from importlib.metadata import version
packages = {name: version(name) for name in sys.argv[1:]}
print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), **packages}))
"""


def versions(device: Device) -> dict[str, str]:
    """What the device's Python is and holds."""
    found: dict[str, str] = json.loads(device("/venv/bin/python", "-c", _VERSIONS, "fdan-edge", *PACKAGES))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument(
        "--cache", type=Path, default=cache_home() / "arm64", help="where the arm64 system is kept"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "arm64.json")
    given = parser.parse_args()
    check_tools()
    if given.bundle and not given.recordings:
        stop("name recordings after the bundle")
    cache: Path = given.cache.resolve()
    with emulation(), tempfile.TemporaryDirectory() as folder:
        device = debian(cache)
        wheel = build_wheel(Path(folder))
        say(f"installing {wheel.name}")
        install(device, wheel, cache)
        made = tests_own(cache)
        recordings = given.recordings or sorted((made / "ravdess").rglob("*.wav"))[::4]
        models = try_verbs(device, given.bundle or made / "bundle", recordings)
        say("running the runtime's tests")
        tests = run_tests(device, made)
        result = {
            "what": "the slim runtime in an emulated arm64 Debian; times there say nothing and are not kept",
            "emulator": f"{run(QEMU, '--version').splitlines()[0]}, -cpu {CPU}",
            "debian": SUITE,
            "wheel": wheel.name,
            "versions": versions(device),
            "models": models,
            "tests": tests,
            "resolved_for_jetpack": {python: resolve(wheel, python, glibc) for python, glibc in JETPACKS.items()},
        }
    write_json(given.out, result)
    say(f"{tests['passed']} tests passed, {tests['skipped']} skipped; written to {given.out}")
    for name, found in models.items():
        if found["largest_difference"] > found["limit"]:
            sys.stderr.write(
                f"error: {name}: probabilities differ from this machine's by more than {found['limit']}\n"
            )
            raise SystemExit(1)


if __name__ == "__main__":
    main()
