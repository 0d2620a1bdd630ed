"""setup.py: what it compiles, for what, and what it says where it cannot. Nothing is compiled here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import setuptools  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1kIdEvPT_i' for 'sm_120'
ptxas info    : Function properties for _Z1kIdEvPT_i
    512 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 164 registers, used 0 barriers, 512 bytes cumulative stack size
ptxas info    : Compile time = 194.414 ms
ptxas info    : Compiling entry function '_Z1kIfEvPT_i' for 'sm_120'
ptxas info    : Function properties for _Z1kIfEvPT_i
    256 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 80 registers, used 0 barriers, 256 bytes cumulative stack size
ptxas info    : Compile time = 144.770 ms
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1kIfEvPT_i' for 'sm_90a'
ptxas info    : Function properties for _Z1kIfEvPT_i
    256 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 256 bytes cumulative stack size, 364 bytes cmem[0]
ptxas info    : Compile time = 161.079 ms
"""
#: Lists what it compiles for, writes its arguments down, and compiles an empty file, or fails.
NVCC = """#!/bin/sh
if [ "$1" = --version ]; then cat "$(dirname "$0")/version"; exit; fi
if [ "$1" = --list-gpu-code ]; then echo sm_75; echo sm_80; echo sm_86; echo sm_87; echo sm_90; exit; fi
here=$(dirname "$0")
echo "$@" > "$here/arguments"
cat "$here/log" >&2
[ -e "$here/fails" ] && exit 1
while [ "$1" != -o ]; do shift; done
touch "$2"
"""


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Runs setup.py in the checkout, without setuptools' part of it."""
    monkeypatch.chdir(ROOT)
    for name in ("FDAN_EDGE_NATIVE", "FDAN_EDGE_CUDA", "FDAN_EDGE_REQUIRE_NATIVE", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))

    def run() -> Any:
        spec = importlib.util.spec_from_file_location("fdan_edge_setup", ROOT / "setup.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert given["ext_modules"] == module.OPS
        return module

    return run


@pytest.fixture
def nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a CUDA toolkit with a compiler that only pretends."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "include").mkdir()
    compiler = tmp_path / "bin" / "nvcc"
    compiler.write_text(NVCC)
    compiler.chmod(0o755)
    (tmp_path / "bin" / "log").write_text(PTXAS)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    return tmp_path


def told(error: pytest.ExceptionInfo[SystemExit]) -> str:
    """The one line that a build ends with."""
    text = error.value.code
    assert isinstance(text, str)
    assert text.startswith("fdan-edge: ")
    assert text.count("\n") == 0
    return text


def test_the_cpu_ops(load: Callable[[], Any]) -> None:
    module = load()
    (ops,) = module.OPS
    assert ops.name == "fdan_edge._C"
    assert sorted(ops.sources) == sorted(f"cuda/{path.name}" for path in (ROOT / "cuda").glob("*.cpp"))
    assert sorted(ops.depends) == sorted(
        f"cuda/{path.name}" for path in (ROOT / "cuda").iterdir() if path.suffix in (".h", ".inl")
    )
    assert ops.py_limited_api
    assert ops.optional
    assert ("TORCH_TARGET_VERSION", "0x020b000000000000") in ops.define_macros


def test_cuda_sources_only_where_cuda_is_asked_for(
    load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, asked in (("0", False), ("", False), ("all", True), ("86", True)):
        monkeypatch.setenv("FDAN_EDGE_CUDA", value)
        (ops,) = load().OPS
        assert ("cuda/lmmd_cuda.cu" in ops.sources) is asked
        assert ops.optional is not asked


def test_a_required_build_is_not_optional(load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDAN_EDGE_REQUIRE_NATIVE", "1")
    assert not load().OPS[0].optional


def test_pure_python_where_it_is_asked_for(load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDAN_EDGE_NATIVE", "0")
    module = load()
    assert module.OPS == []
    assert module.options([]) == {}  # so that the wheel is py3-none-any
    for name in ("FDAN_EDGE_CUDA", "FDAN_EDGE_REQUIRE_NATIVE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            with pytest.raises(SystemExit) as error:
                load()
            assert "FDAN_EDGE_NATIVE=0 contradicts" in told(error)


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


def with_old_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("torch")
    old.__version__ = "2.9.1+cpu"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", old)


@pytest.mark.parametrize("change", [without_torch, with_old_torch])
def test_without_a_torch_that_will_do(
    load: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[pytest.MonkeyPatch], None],
) -> None:
    change(monkeypatch)
    module = load()
    assert module.OPS == []
    assert module.options([]) == {}
    assert ("need PyTorch 2.11, not 2.9.1" in capsys.readouterr().out) is (change is with_old_torch)
    for name in ("FDAN_EDGE_REQUIRE_NATIVE", "FDAN_EDGE_CUDA"):
        with monkeypatch.context() as asked:
            asked.setenv(name, "1")
            with pytest.raises(SystemExit) as error:
                load()
        assert "need PyTorch 2.11 or later at build time" in told(error)
        assert "pip install --no-build-isolation" in told(error)


@pytest.mark.parametrize(("version", "will_do"), [("2.10.0", False), ("2.11.0", True), ("3.0.0a0+git12", True)])
def test_versions_of_torch(
    load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, version: str, will_do: bool
) -> None:
    import torch

    monkeypatch.setattr(torch, "__version__", version)
    assert bool(load().OPS) is will_do


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("all", [75, 80, 86, 87, 90]),  # of ours, those that this compiler knows
        ("1", [75, 80, 86, 87, 90]),
        ("87", [87]),
        ("8.6;7.5", [75, 86]),
        ("80, 86", [80, 86]),
        ("sm_86", [86]),
        ("86;86", [86]),
    ],
)
def test_architectures(
    load: Callable[[], Any], nvcc: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, expected: list[int]
) -> None:
    module = load()
    monkeypatch.setenv("FDAN_EDGE_CUDA", wanted)
    assert module.cuda_home() == nvcc
    assert module.architectures(nvcc) == expected


@pytest.mark.parametrize("wanted", ["120", "86;61", "ampere", "yes"])
def test_architectures_that_this_compiler_has_not(
    load: Callable[[], Any], nvcc: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    module = load()
    monkeypatch.setenv("FDAN_EDGE_CUDA", wanted)
    with pytest.raises(SystemExit) as error:
        module.architectures(nvcc)
    assert f"FDAN_EDGE_CUDA={wanted!r}" in told(error)
    assert told(error).endswith("75, 80, 86, 87, 90")


def test_no_compiler_for_cuda(load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = load()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: self.name != "nvcc" and exists(self))
    with pytest.raises(SystemExit) as error:
        module.cuda_home()
    assert "no nvcc was found: set CUDA_HOME, or FDAN_EDGE_CUDA=0" in told(error)


@pytest.mark.parametrize(
    ("nvcc_says", "torch_cuda", "refused"),
    [
        ("Cuda compilation tools, release 13.0, V13.0.88", "13.0", ""),
        ("Cuda compilation tools, release 13.2, V13.2.1", "13.0", ""),  # minor versions fit each other
        (
            "Cuda compilation tools, release 12.4, V12.4.99",
            "13.0",
            "is of CUDA 12.4, PyTorch 2.14.1 of CUDA 13.0: set CUDA_HOME to a toolkit of CUDA 13, "
            "or install a PyTorch for CUDA 12",
        ),
        (
            "Cuda compilation tools, release 13.0, V13.0.88",
            "12.8",
            "is of CUDA 13.0, PyTorch 2.14.1 of CUDA 12.8: set CUDA_HOME to a toolkit of CUDA 12, "
            "or install a PyTorch for CUDA 13",
        ),
        ("release 13.0", None, "PyTorch 2.14.1 is built without CUDA: install one with, or FDAN_EDGE_CUDA=0"),
        ("no version", "13.0", "bin/nvcc --version names no release: set CUDA_HOME to a CUDA toolkit"),
    ],
)
def test_a_toolkit_of_another_cuda_than_pytorchs(
    load: Callable[[], Any], nvcc: Path, nvcc_says: str, torch_cuda: str | None, refused: str
) -> None:
    (nvcc / "bin" / "version").write_text(nvcc_says + "\n")
    module = load()
    if not refused:
        module.check_toolkit(nvcc, "2.14.1", torch_cuda)
        return
    with pytest.raises(SystemExit) as error:
        module.check_toolkit(nvcc, "2.14.1", torch_cuda)
    assert told(error).endswith(refused)


def test_a_build_looks_at_the_toolkit_first(
    load: Callable[[], Any], nvcc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    (nvcc / "bin" / "version").write_text("release 12.4, V12.4.99\n")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("FDAN_EDGE_CUDA", "86")
    module = load()
    build = module.BuildOps(setuptools.Distribution())
    with pytest.raises(SystemExit) as error:
        build.build_extension(setuptools.Extension("fdan_edge._C", ["cuda/lmmd_cuda.cu"]))
    assert "is of CUDA 12.4" in told(error)
    assert not (nvcc / "bin" / "arguments").exists()


def compile_cuda(module: Any, home: Path, names: list[int]) -> Path:
    build = module.BuildOps(setuptools.Distribution())
    build.build_temp = str(home / "objects")
    ext = setuptools.Extension("fdan_edge._C", [], include_dirs=["/torch"], define_macros=[("A", "1;2")])
    made: Path = build.compile_cuda(ext, Path("cuda/lmmd_cuda.cu"), home, names)
    return made


def test_one_call_of_the_compiler_for_all_architectures(
    load: Callable[[], Any], nvcc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_cuda(load(), nvcc, [75, 90, 120]).exists()
    words = (nvcc / "bin" / "arguments").read_text().split()
    assert [word for word in words if word.startswith("-gencode")] == [
        "-gencode=arch=compute_75,code=[compute_75,sm_75]",
        "-gencode=arch=compute_90,code=[sm_90]",
        "-gencode=arch=compute_120,code=[compute_120,sm_120]",
    ]
    assert {"-DA=1;2", "-isystem=/torch", "cuda/lmmd_cuda.cu", "-std=c++17"} <= set(words)
    assert capsys.readouterr().out.splitlines() == [
        "nvcc cuda/lmmd_cuda.cu for sm_75, sm_90, sm_120",
        "  sm_90: 1 kernels, up to 255 registers, up to 0 bytes spilled",
        "  sm_120: 2 kernels, up to 164 registers, up to 8 bytes spilled",
    ]


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        ([87], ["compute_80,code=[compute_80,sm_87]"]),
        ([80, 86, 89], ["compute_80,code=[compute_80,sm_80,sm_86,sm_89]"]),
        (
            [75, 86, 100],
            [
                "compute_75,code=[compute_75,sm_75]",
                "compute_80,code=[sm_86]",
                "compute_90,code=[compute_90,sm_100]",
            ],
        ),
    ],
)
def test_each_generation_has_its_own_pass(load: Callable[[], Any], names: list[int], codes: list[str]) -> None:
    assert list(load().generations(names)) == [f"-gencode=arch={code}" for code in codes]


def test_a_kernel_that_spills_too_much_ends_the_build(load: Callable[[], Any], nvcc: Path) -> None:
    (nvcc / "bin" / "log").write_text(PTXAS.replace("8 bytes spill stores", "65 bytes spill stores"))
    with pytest.raises(SystemExit) as error:
        compile_cuda(load(), nvcc, [75, 90, 120])
    assert told(error) == "fdan-edge: a kernel spills 65 bytes on sm_120; 64 are allowed (MOST_SPILLED)"


def test_an_error_of_the_compiler_is_shown(load: Callable[[], Any], nvcc: Path) -> None:
    (nvcc / "bin" / "fails").touch()
    (nvcc / "bin" / "log").write_text("lmmd_cuda.cu(1): error: what?\n")
    with pytest.raises(SystemExit, match=r"error: what\?\n\nfdan-edge: nvcc could not compile cuda/lmmd_cuda.cu"):
        compile_cuda(load(), nvcc, [75])
