"""What is in the source tree is in the wheel, the linked export package too."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import tomllib

from fdan_edge.runtime import included
from fdan_edge.runtime.about import read_about
from fdan_edge.runtime.bundle import Bundle

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "benchmarks" / "models"
#: Of a wheel, with its models.
MOST_BYTES = 25_000_000


def sources() -> set[str]:
    """Every module by its place in the installed package."""
    package = {p.relative_to(ROOT).as_posix() for p in (ROOT / "fdan_edge").rglob("*.py")}
    return package | {f"fdan_edge/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "export").rglob("*.py")}


def models() -> set[str]:
    """Every file of the models by its place in the installed package."""
    return {p.relative_to(ROOT).as_posix() for p in (ROOT / "fdan_edge" / "bundles").rglob("*") if p.is_file()}


def test_every_folder_with_modules_is_a_listed_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(settings["packages"]) == {Path(s).parent.as_posix().replace("/", ".") for s in sources()}
    assert settings["package-dir"] == {"fdan_edge.export": "export"}


def test_export_is_one_folder_under_two_names() -> None:
    link = ROOT / "fdan_edge" / "export"
    assert link.is_symlink()
    assert link.readlink() == Path("../export")


def test_the_models_of_the_package_are_of_recipes() -> None:
    """The default is there. Each is whole, of known corpora, and for the use that its recipe says."""
    known = tomllib.loads((RECIPES / "corpora.toml").read_text())
    recipes = {
        path.stem: tomllib.loads(path.read_text()) for path in RECIPES.glob("*.toml") if path.stem != "corpora"
    }
    assert included.names()[0] == included.DEFAULT
    for name in included.names():
        recipe = recipes[name]
        bundle = Bundle.open(included.find(name))
        bundle.verify()
        assert sum(entry.bytes for entry in bundle.manifest.files.values()) <= 8_000_000
        about = read_about(bundle)
        assert about is not None
        assert (about.use, [corpus.name for corpus in about.corpora]) == (recipe["use"], recipe["corpora"])
        for corpus in about.corpora:
            digests = [folder["sha256"] for folder in known[corpus.name]["folders"]]
            joined = hashlib.sha256("".join(digests).encode()).hexdigest()
            assert corpus.sha256 == (digests[0] if len(digests) == 1 else joined)
        assert {score.test for score in about.scores} >= {"corpora", "noise"}


def test_cuda_holds_no_python() -> None:
    """A package named cuda would shadow NVIDIA's."""
    assert not list((ROOT / "cuda").rglob("*.py"))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this checkout, unpacked. Compiled files of the checkout are left out."""
    folder = tmp_path_factory.mktemp("sdist")
    tree = folder / "tree"
    tree.mkdir()
    leave_out = shutil.ignore_patterns("__pycache__", "*.so")
    for path in ROOT.iterdir():
        if path.name in ("fdan_edge", "export", "cuda"):
            shutil.copytree(path, tree / path.name, symlinks=True, ignore=leave_out)
        elif path.is_file():
            shutil.copy(path, tree)
    python("setup.py", "-q", "sdist", "-d", str(folder), cwd=tree)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def python(*arguments: str, cwd: Path, **environment: str) -> str:
    """Run Python without the settings of `make`; gives its standard output."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FDAN_EDGE_")}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**own, **environment},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def wheel(tree: Path, folder: Path, **environment: str) -> Path:
    command = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w"]
    python(*command, str(folder), str(tree), cwd=folder, **environment)
    (made,) = folder.glob("*.whl")
    return made


def holds_every_module(made: Path, others: set[str]) -> None:
    names = {name for name in zipfile.ZipFile(made).namelist() if ".dist-info/" not in name}
    page = {p.relative_to(ROOT).as_posix() for p in (ROOT / "fdan_edge" / "server" / "static").iterdir()}
    assert names == sources() | page | models() | {"fdan_edge/py.typed"} | others
    assert made.stat().st_size < MOST_BYTES


@pytest.mark.slow
def test_the_sdist_holds_all_that_is_compiled(unpacked: Path) -> None:
    for path in (ROOT / "cuda").iterdir():
        assert (unpacked / "cuda" / path.name).read_bytes() == path.read_bytes()
    for name in ("setup.py", "pyproject.toml", "README.md", "constraints.txt", "export/__init__.py"):
        assert (unpacked / name).exists()


def quick_compiler(folder: Path) -> Path:
    """A compiler that only preprocesses, and as a linker gives the library of this checkout.

    That one was compiled from the same files (see the test above); doing so again takes half a minute.
    """
    real = shlex.split(os.environ.get("CXX", "c++"))
    library = str(ROOT / "fdan_edge" / "_C.abi3.so")
    compiler = folder / "quick-c++"
    compiler.write_text(
        f"""#!{sys.executable} -S
import os, shutil, sys
words = sys.argv[1:]
if "-c" in words:
    os.execvp({real[0]!r}, [*{real!r}, "-M", *words])  # every header must be there
assert {{os.path.basename(word) for word in words if word.endswith(".o")}} == {objects()!r}, words
shutil.copy({library!r}, words[words.index("-o") + 1])
"""
    )
    compiler.chmod(0o755)
    return compiler


def objects() -> set[str]:
    """What is compiled for the CPU, each by its own name."""
    return {f"{path.stem}.o" for path in (ROOT / "cuda").glob("*.cpp")}


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_the_compiled_ops(unpacked: Path, tmp_path: Path) -> None:
    """Built from the source distribution; works with the PyTorch that is here."""
    made = wheel(unpacked, tmp_path, FDAN_EDGE_REQUIRE_NATIVE="1", CXX=str(quick_compiler(tmp_path)))
    assert re.fullmatch(r"fdan_edge-.*-cp310-abi3-linux_\w+\.whl", made.name)
    holds_every_module(made, {"fdan_edge/_C.abi3.so"})
    zipfile.ZipFile(made).extractall(tmp_path / "installed")
    # Without `site`, so that an editable installation has no part in it.
    paths = [str(tmp_path / "installed"), *(path for path in sys.path if path.endswith("-packages"))]
    code = "import fdan_edge.models.ops.native as n; print(n.__file__, n.native_status().cpu)"
    said = python("-S", "-c", code, cwd=tmp_path, PYTHONPATH=os.pathsep.join(paths))
    assert said.split() == [str(tmp_path / "installed" / "fdan_edge" / "models" / "ops" / "native.py"), "True"]


@pytest.mark.slow
def test_the_wheel_is_pure_python_where_torch_is_not(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    made = wheel(unpacked, tmp_path, PYTHONPATH=str(tmp_path))
    assert made.name.endswith("-py3-none-any.whl")
    holds_every_module(made, set())
