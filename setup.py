"""Builds the compiled ops (cuda/) into `fdan_edge._C`; everything else stands in pyproject.toml.

They are built where PyTorch can be imported, that is with `pip install --no-build-isolation`; elsewhere the
package is pure Python and trains on the PyTorch reference. Environment variables:

    FDAN_EDGE_NATIVE          0: pure Python even where PyTorch is, as the wheel for a device must be.
    FDAN_EDGE_CUDA            0 (default): CPU only. all: also CUDA, for every architecture that nvcc knows of
                              ARCHITECTURES. "86;120": also CUDA, for these. No GPU is needed or looked for.
    FDAN_EDGE_REQUIRE_NATIVE  1: a failed build is an error, not a pure-Python installation.
    CUDA_HOME                 where CUDA is, if not in /usr/local/cuda.
    CXXFLAGS                  further flags of the C++ compiler, as in CXXFLAGS=-O0.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("cuda")
#: Turing, A100, RTX 30, Orin, RTX 40, H100, B200 and RTX 50.
ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 120)
#: The front end compiles for these; machine code of others comes from the newest of them that is not newer.
#: A generation's own instructions (cp.async from 80 on) need its own pass.
FRONT_ENDS = (75, 80, 90, 120)
#: Bytes that a kernel may spill; none of them in a loop (benchmarks/lmmd_sass.py).
MOST_SPILLED = 64
TORCH_NEEDED = (2, 11)
NEEDED_TEXT = ".".join(map(str, TORCH_NEEDED))
#: The oldest PyTorch whose stable ABI the ops may use.
TORCH_TARGET = f"0x{TORCH_NEEDED[0]:02x}{TORCH_NEEDED[1]:02x}{0:012x}"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def flag(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


def torch_folder() -> Path | None:
    """Where PyTorch is, if it is there and new enough."""
    try:
        import torch
    except ImportError:
        return None
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < TORCH_NEEDED:
        say(f"fdan-edge: the compiled ops need PyTorch {NEEDED_TEXT}, not {torch.__version__}: built without them")
        return None
    return Path(torch.__file__).parent


def cuda_home() -> Path:
    """The folder with bin/nvcc; an error for people where there is none."""
    found = shutil.which("nvcc")
    places = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places.append(str(Path(found).resolve().parents[1]) if found else None)
    for place in places:
        if place and (Path(place) / "bin" / "nvcc").exists() and (Path(place) / "include").is_dir():
            return Path(place)
    sys.exit("fdan-edge: FDAN_EDGE_CUDA asks for CUDA, but no nvcc was found: set CUDA_HOME, or FDAN_EDGE_CUDA=0")


def check_toolkit(home: Path, torch_version: str, torch_cuda: str | None) -> None:
    """End the build where nvcc and PyTorch are of different CUDA: it would go well, and fail at the first call."""
    if torch_cuda is None:
        sys.exit(
            f"fdan-edge: PyTorch {torch_version} is built without CUDA: install one with, or FDAN_EDGE_CUDA=0"
        )
    told = subprocess.run([home / "bin" / "nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\d+)\.(\d+)", told)
    if not found:
        sys.exit(f"fdan-edge: {home}/bin/nvcc --version names no release: set CUDA_HOME to a CUDA toolkit")
    ours, theirs = found[1], torch_cuda.split(".")[0]
    if ours != theirs:
        sys.exit(
            f"fdan-edge: nvcc in {home} is of CUDA {found[1]}.{found[2]}, PyTorch {torch_version} of CUDA "
            f"{torch_cuda}: set CUDA_HOME to a toolkit of CUDA {theirs}, or install a PyTorch for CUDA {ours}"
        )


def static_runtime(home: Path) -> Path:
    """CUDA's runtime as a static library."""
    for folder in ("lib64", "lib", "targets/*/lib"):
        for found in home.glob(f"{folder}/libcudart_static.a"):
            return found
    sys.exit(f"fdan-edge: no libcudart_static.a below {home}: set CUDA_HOME to a whole CUDA toolkit")


def architectures(home: Path) -> list[int]:
    """The architectures that FDAN_EDGE_CUDA asks for."""
    wanted = os.environ["FDAN_EDGE_CUDA"]
    listed = subprocess.run([home / "bin" / "nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True)
    known = {int(name) for name in re.findall(r"sm_(\d+)\b", listed.stdout)}
    if wanted in ("1", "all"):
        return [name for name in ARCHITECTURES if name in known]
    asked = [int(name) for name in re.findall(r"\d+", wanted.replace(".", ""))]
    if not asked or not set(asked) <= known:
        valid = ", ".join(str(name) for name in sorted(known))
        sys.exit(f"fdan-edge: FDAN_EDGE_CUDA={wanted!r} is not for this nvcc; valid: 0, all, or some of {valid}")
    return sorted(set(asked))


class BuildOps(build_ext):
    """Compiles .cu sources with nvcc, and says what was made for each architecture."""

    def build_extension(self, ext: Extension) -> None:
        kernels = [source for source in ext.sources if source.endswith(".cu")]
        ext.sources = [source for source in ext.sources if not source.endswith(".cu")]
        if kernels:
            ext.libraries.append("torch_cuda")
            home = cuda_home()
            import torch  # it is there: `extensions` has seen it

            check_toolkit(home, torch.__version__, torch.version.cuda)
            names = architectures(home)
            ext.define_macros.append(("FDAN_EDGE_ARCHITECTURES", ";".join(map(str, names))))
            ext.extra_objects += [str(self.compile_cuda(ext, Path(source), home, names)) for source in kernels]
            # The runtime is linked in: it must not be the one that PyTorch brings.
            ext.extra_objects.append(str(static_runtime(home)))
            ext.libraries += ["dl", "pthread", "rt"]
        super().build_extension(ext)

    def compile_cuda(self, ext: Extension, source: Path, home: Path, names: list[int]) -> Path:
        made = Path(self.build_temp) / f"{source.stem}.cu.o"
        made.parent.mkdir(parents=True, exist_ok=True)
        command = [str(home / "bin" / "nvcc"), "-c", str(source), "-o", str(made), "-O3", "-std=c++17"]
        command += [*generations(names), "--threads=0", "-Xptxas=-v"]
        command += ["-Xcompiler=-fPIC,-fvisibility=hidden", *includes(ext)]
        say(f"nvcc {source} for " + ", ".join(f"sm_{name}" for name in names))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}\nfdan-edge: nvcc could not compile {source}")
        for line in resources(done.stdout + done.stderr):
            say(line)
        return made


def generations(names: list[int]) -> Iterable[str]:
    """nvcc's options for machine code of `names`; PTX of the oldest and newest front end serves other GPUs."""
    front_ends = {name: max((base for base in FRONT_ENDS if base <= name), default=name) for name in names}
    for base in sorted(set(front_ends.values())):
        codes = [f"sm_{name}" for name in names if front_ends[name] == base]
        if base in (min(front_ends.values()), max(front_ends.values())):
            codes.insert(0, f"compute_{base}")
        yield f"-gencode=arch=compute_{base},code=[{','.join(codes)}]"


def includes(ext: Extension) -> Iterable[str]:
    for name, value in ext.define_macros:
        yield f"-D{name}={value}"
    for folder in ext.include_dirs:
        yield f"-isystem={folder}"


def resources(log: str) -> Iterable[str]:
    """What ptxas says of its kernels, in one line for each architecture; an error where one spills too much."""
    pattern = r"for '(sm_\d+)a?'.*?(\d+) bytes spill stores.*?Used (\d+) registers"
    found = re.findall(pattern, log, flags=re.DOTALL)
    for name in sorted({name for name, _, _ in found}, key=lambda name: int(name[3:])):
        own = [(int(registers), int(spills)) for other, spills, registers in found if other == name]
        most, registers = max(spills for _, spills in own), max(registers for registers, _ in own)
        yield f"  {name}: {len(own)} kernels, up to {registers} registers, up to {most} bytes spilled"
        if most > MOST_SPILLED:
            sys.exit(
                f"fdan-edge: a kernel spills {most} bytes on {name}; {MOST_SPILLED} are allowed (MOST_SPILLED)"
            )


def extensions() -> list[Extension]:
    cuda = flag("FDAN_EDGE_CUDA")
    if os.environ.get("FDAN_EDGE_NATIVE") == "0":
        if cuda or flag("FDAN_EDGE_REQUIRE_NATIVE"):
            sys.exit("fdan-edge: FDAN_EDGE_NATIVE=0 contradicts FDAN_EDGE_CUDA and FDAN_EDGE_REQUIRE_NATIVE")
        return []
    torch = torch_folder()
    if torch is None:
        if cuda or flag("FDAN_EDGE_REQUIRE_NATIVE"):
            sys.exit(
                f"fdan-edge: the compiled ops need PyTorch {NEEDED_TEXT} or later at build time: install it, "
                "then pip install --no-build-isolation"
            )
        return []
    if not SOURCES.is_dir():
        sys.exit(f"fdan-edge: the folder {SOURCES.resolve()} with the native sources is missing")
    sources = sorted(SOURCES.glob("*.cpp")) + (sorted(SOURCES.glob("*.cu")) if cuda else [])
    return [
        Extension(
            "fdan_edge._C",
            [str(source) for source in sources],
            depends=[str(path) for path in sorted(SOURCES.glob("*.h")) + sorted(SOURCES.glob("*.inl"))],
            include_dirs=[str(torch / "include")],
            library_dirs=[str(torch / "lib")],
            libraries=["torch_cpu", "torch", "c10"],
            define_macros=[("Py_LIMITED_API", "0x030a0000"), ("TORCH_TARGET_VERSION", TORCH_TARGET)],
            extra_compile_args=[
                *("-std=c++17", "-O3", "-g0", "-fopenmp-simd", "-fvisibility=hidden"),
                *os.environ.get("CXXFLAGS", "").split(),  # the last of two that contradict each other counts
            ],
            py_limited_api=True,
            # Where there is no compiler, the package is still useful.
            optional=not (cuda or flag("FDAN_EDGE_REQUIRE_NATIVE")),
        )
    ]


def options(ops: list[Extension]) -> dict[str, Any]:
    return {"bdist_wheel": {"py_limited_api": "cp310"}} if ops else {}


OPS = extensions()
setup(ext_modules=OPS, cmdclass={"build_ext": BuildOps}, options=options(OPS))
