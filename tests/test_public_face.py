"""What `import fdan_edge` offers: every name resolves, is documented, and is imported only when it is used."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fdan_edge
from fdan_edge import errors

#: Names that cannot be imported without PyTorch.
NEEDS_TORCH = {"evaluate", "evaluate_robustness", "export_bundle", "train"}

_MODULES_OF_IMPORT = """
import json, sys
before = set(sys.modules)
import fdan_edge
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("name", sorted(fdan_edge.__all__))
def test_every_name_resolves_and_is_documented(name: str) -> None:
    if name in NEEDS_TORCH:
        pytest.importorskip("torch")
    value: Any = getattr(fdan_edge, name)
    assert name == "__version__" or inspect.getdoc(value)
    assert name in dir(fdan_edge)


def test_every_function_says_what_it_takes_and_raises() -> None:
    pytest.importorskip("torch")
    functions = [value for name in fdan_edge.__all__ if inspect.isfunction(value := getattr(fdan_edge, name))]
    assert len(functions) == 7
    for function in functions:
        text, parameters = inspect.getdoc(function) or "", inspect.signature(function).parameters
        assert "Raises:" in text, function
        assert len(parameters) == 1 or all(f"{name}:" in text for name in parameters), function
        assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters.values())


def test_every_exception_is_offered() -> None:
    classes = {name for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, Exception)}
    assert classes <= set(fdan_edge.__all__)


def test_type_checkers_see_every_name() -> None:
    """What is imported under TYPE_CHECKING, or at once, is exactly what `__all__` offers."""
    tree = ast.parse(Path(fdan_edge.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fdan_edge")
        for alias in node.names
    }
    assert imported == set(fdan_edge.__all__)
    assert fdan_edge.__all__ == sorted(fdan_edge.__all__)


def test_what_is_not_offered_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'fdan_edge' has no attribute 'Recogniser'"):
        _ = fdan_edge.Recogniser


def test_importing_it_imports_nothing_but_the_standard_library() -> None:
    done = subprocess.run([sys.executable, "-c", _MODULES_OF_IMPORT], capture_output=True, text=True, check=True)
    modules: list[str] = json.loads(done.stdout)
    own = {name for name in modules if name.partition(".")[0] == "fdan_edge"}
    plumbing = {"fdan_edge.utils", "fdan_edge.utils.telemetry"}
    assert own == {"fdan_edge", "fdan_edge._version", "fdan_edge.errors", *plumbing}
    assert {name.partition(".")[0] for name in modules} - sys.stdlib_module_names == {"fdan_edge"}
    assert len(modules) < 60
