"""What is in the source tree is in the wheel, the linked export package too."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[1]


def sources() -> set[str]:
    """Every module by its place in the installed package."""
    package = {p.relative_to(ROOT).as_posix() for p in (ROOT / "fdan_edge").rglob("*.py")}
    return package | {f"fdan_edge/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "export").rglob("*.py")}


def test_every_folder_with_modules_is_a_listed_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(settings["packages"]) == {Path(s).parent.as_posix().replace("/", ".") for s in sources()}
    assert settings["package-dir"] == {"fdan_edge.export": "export"}


def test_export_is_one_folder_under_two_names() -> None:
    link = ROOT / "fdan_edge" / "export"
    assert link.is_symlink()
    assert link.readlink() == Path("../export")


def test_cuda_holds_no_python() -> None:
    """A package named cuda would shadow NVIDIA's."""
    assert not list((ROOT / "cuda").rglob("*.py"))


@pytest.mark.slow
def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "fdan_edge", "export", "setup.py"):
        if (ROOT / name).exists():
            subprocess.run(["cp", "-a", str(ROOT / name), str(tree)], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(tmp_path),
    ]
    made = subprocess.run([*command, str(tree)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert sources() <= names
    assert "fdan_edge/py.typed" in names
    assert not {name.split("/")[0] for name in names if not name.startswith("fdan_edge")}
