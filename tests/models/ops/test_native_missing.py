"""What happens where the compiled ops are missing, broken, or not made for the GPU at hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fdan_edge.models.ops import native
from fdan_edge.models.ops.lmmd import lmmd, lmmd_reference
from fdan_edge.models.ops.native import BUILD, BUILD_CUDA, NativeStatus, serves
from tests.helpers.lmmd_problems import Recipe, problem

PACKAGE = Path(native.__file__).parents[2]
NOT_COMPILED = NativeStatus(False, False, (), "fdan_edge._C is not compiled")
CPU_ONLY = NativeStatus(True, False, (), "CPU (AVX2), no CUDA")
FOR_AMPERE = NativeStatus(True, True, (80, 86), "CPU (AVX2), CUDA sm_80, sm_86")
#: Imports the copy twice: where the ops are required, and where they are not; then two calls.
CHILD = """
import json, os, sys, warnings
os.environ["FDAN_EDGE_REQUIRE_NATIVE"] = "1"
try:
    import fdan_edge.models.ops.native
    required = "no error"
except ImportError as error:
    required = str(error)
os.environ["FDAN_EDGE_REQUIRE_NATIVE"] = "0"
import torch
from fdan_edge.models.ops import native
from fdan_edge.models.ops.lmmd import lmmd
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    z, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    values = [float(lmmd(z, z + 1, y, y, 2)) for _ in range(2)]
said = [[w.category.__name__, str(w.message)] for w in caught]
print(json.dumps([native.__file__, required, native.native_status().cpu, values, said]))
"""


def in_a_copy(folder: Path) -> tuple[str, list[float], list[str]]:
    """The error where the ops are required; values and warnings where they are not."""
    left_out = shutil.ignore_patterns("*.so", "__pycache__", "export")
    shutil.copytree(PACKAGE, folder / "fdan_edge", ignore=left_out, dirs_exist_ok=True)
    # Without `site`, so that an editable installation does not add its own _C.
    paths = [str(folder), *(path for path in sys.path if path.endswith("-packages"))]
    done = subprocess.run(
        [sys.executable, "-S", "-c", CHILD],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    file, required, compiled, values, said = json.loads(done.stdout)
    assert Path(file).parent == folder / "fdan_edge" / "models" / "ops"
    assert not compiled
    assert {category for category, _ in said} == {"RuntimeWarning"}
    return required, values, [text for _, text in said]


def test_ops_that_are_not_compiled(tmp_path: Path) -> None:
    error, values, warned = in_a_copy(tmp_path)
    assert error == f"FDAN_EDGE_REQUIRE_NATIVE is set, and fdan_edge._C is not compiled; {BUILD}"
    assert warned == ["LMMD runs on its PyTorch reference, slower: fdan_edge._C is not compiled"]
    z, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    assert values == [pytest.approx(float(lmmd(z, z + 1, y, y, 2)), rel=1e-5)] * 2


def test_ops_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "fdan_edge").mkdir()
    (tmp_path / "fdan_edge" / "_C.abi3.so").write_bytes(b"not a library")
    error, _, warned = in_a_copy(tmp_path)
    assert error.startswith("FDAN_EDGE_REQUIRE_NATIVE is set, and fdan_edge._C cannot be loaded: ")
    assert "_C.abi3.so" in error
    assert error.endswith(BUILD)
    (text,) = warned
    assert text.startswith("LMMD runs on its PyTorch reference, slower: fdan_edge._C cannot be loaded: ")


@pytest.fixture
def fresh_warnings() -> Iterator[None]:
    native.warn_once.cache_clear()
    yield
    native.warn_once.cache_clear()


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch, fresh_warnings: None) -> None:  # noqa: ARG001
    monkeypatch.setattr(native, "native_status", lambda: NOT_COMPILED)


def arguments() -> tuple[Any, ...]:
    p = problem(Recipe(5, 6, 4, 3))
    return p.z_visual.requires_grad_(), p.z_acoustic, p.y_visual, p.y_acoustic, 3


@pytest.mark.usefixtures("not_compiled")
def test_the_reference_serves_and_says_so_once() -> None:
    with pytest.warns(RuntimeWarning, match="on its PyTorch reference, slower: fdan_edge._C is not compiled$"):
        made = lmmd(*arguments())
    assert torch.equal(made, lmmd_reference(*arguments()))
    lmmd(*arguments())  # a second warning would be an error here


@pytest.mark.usefixtures("not_compiled")
def test_the_warning_points_at_the_caller() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def caller() -> None:
            lmmd(*arguments())

        caller()
    (warning,) = caught
    assert warning.filename == __file__
    assert warning.lineno == caller.__code__.co_firstlineno + 1


@pytest.mark.slow
@pytest.mark.usefixtures("not_compiled")
def test_the_reference_can_be_compiled_by_torch() -> None:
    torch.compiler.reset()
    compiled = torch.compile(lmmd, fullgraph=True, backend="aot_eager")
    with pytest.warns(RuntimeWarning, match="reference"):
        made = compiled(*arguments())
    torch.testing.assert_close(made, lmmd_reference(*arguments()))
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_warnings")
@pytest.mark.parametrize(
    ("status", "device", "capability", "warned"),
    [
        (NOT_COMPILED, "cpu", None, "fdan_edge._C is not compiled"),
        (NOT_COMPILED, "cuda", None, "fdan_edge._C is not compiled"),
        (CPU_ONLY, "cpu", None, None),
        (CPU_ONLY, "cuda", None, f"compiled for CPU (AVX2), no CUDA; {BUILD_CUDA}"),
        (FOR_AMPERE, "cuda", (8, 6), None),
        (FOR_AMPERE, "cuda", (12, 0), None),
        (FOR_AMPERE, "cuda", (7, 5), "compiled for CPU (AVX2), CUDA sm_80, sm_86, not for this GPU's sm_75"),
    ],
)
def test_where_the_ops_serve(
    monkeypatch: pytest.MonkeyPatch,
    status: NativeStatus,
    device: str,
    capability: tuple[int, int] | None,
    warned: str | None,
) -> None:
    monkeypatch.setattr(native, "native_status", lambda: status)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = [serves(torch.device(device)) for _ in range(2)]
    assert answers == [warned is None] * 2
    prefix = "LMMD runs on its PyTorch reference, slower: "
    assert [str(warning.message) for warning in caught] == ([] if warned is None else [prefix + warned])


@pytest.mark.usefixtures("fresh_warnings")
def test_devices_that_nobody_compiles_for_are_no_reason_for_a_warning() -> None:
    assert not serves(torch.device("meta"))
