"""The architecture's rules: modules import downwards only, and the runtime needs no training packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fdan_edge"
#: A module imports only from rows above its own; inside a row the order is as written.
LAYERS = [
    [
        "fdan_edge",
        "fdan_edge.errors",
        "fdan_edge.config",
        "fdan_edge.methods",
        "fdan_edge.space",
        "fdan_edge.published",
        "fdan_edge.emotions",
        "fdan_edge.targets",
        "fdan_edge.files",
        "fdan_edge.progress",
        "fdan_edge.board",
        "fdan_edge.nvml",
        "fdan_edge.machine",
        "fdan_edge.world",
        "fdan_edge.device",
    ],
    [
        "fdan_edge.spec",
        "fdan_edge.container",
        "fdan_edge.audio",
        "fdan_edge.video",
        "fdan_edge.native",
        "fdan_edge.ops",
        "fdan_edge.sparse",
        "fdan_edge.alignment",
        "fdan_edge.frontend",
    ],
    ["fdan_edge.corpora", "fdan_edge.models", "fdan_edge.losses", "fdan_edge.objective"],
    ["fdan_edge.protocols", "fdan_edge.splits", "fdan_edge.audit"],
    ["fdan_edge.metrics", "fdan_edge.bootstrap", "fdan_edge.calibration", "fdan_edge.predictions"],
    [
        "fdan_edge.parallel",
        "fdan_edge.contents",
        "fdan_edge.rows",
        "fdan_edge.cache",
        "fdan_edge.provenance",
        "fdan_edge.runs",
        "fdan_edge.scan",
        "fdan_edge.features",
        "fdan_edge.augment",
        "fdan_edge.channel",
        "fdan_edge.pictures",
        "fdan_edge.checkpoint",
        "fdan_edge.distillation",
    ],
    [
        "fdan_edge.fingerprint",
        "fdan_edge.manifest",
        "fdan_edge.bundle",
        "fdan_edge.build_progress",
        "fdan_edge.engines",
        "fdan_edge.runner",
        "fdan_edge.onnx_runner",
        "fdan_edge.stream",
        "fdan_edge.cuda_graph",
        "fdan_edge.trt_runner",
        "fdan_edge.runners",
        "fdan_edge.torch_runner",
        "fdan_edge.optimisation",
        "fdan_edge.feed",
        "fdan_edge.step",
        "fdan_edge.tally",
        "fdan_edge.epoch",
        "fdan_edge.fitting",
        "fdan_edge.train",
    ],
    [
        "fdan_edge.infer",
        "fdan_edge.recognizer",
        "fdan_edge.serve",
        "fdan_edge.evaluate",
        "fdan_edge.target",
        "fdan_edge.embed",
        "fdan_edge.scoring",
        "fdan_edge.coldstart",
        "fdan_edge.breakdown",
        "fdan_edge.bench",
        "fdan_edge.versus",
        "fdan_edge.roofline",
        "fdan_edge.doctor",
    ],
    [
        "fdan_edge.fit",
        "fdan_edge.crossval",
        "fdan_edge.study",
        "fdan_edge.tune_results",
        "fdan_edge.tune",
        "fdan_edge.reproduce",
        "fdan_edge.report",
        "fdan_edge.tasks",
        "fdan_edge.tasks_scores",
        "fdan_edge.tasks_report",
        "fdan_edge.export",
    ],
    ["fdan_edge.cli", "fdan_edge.__main__"],
]
ORDER = [name for layer in LAYERS for name in layer]
RUNTIME = [
    "errors",
    "emotions",
    "targets",
    "files",
    "spec",
    "container",
    "audio",
    "video",
    "fingerprint",
    "manifest",
    "bundle",
    "build_progress",
    "engines",
    "runner",
    "onnx_runner",
    "cuda_graph",
    "trt_runner",
    "runners",
    "infer",
    "recognizer",
    *sorted(
        f"{p.parent.name}.{p.stem}" for folder in ("stream", "serve") for p in (PACKAGE / folder).glob("[!_]*.py")
    ),
    "nvml",
    "machine",
    "coldstart",
    "breakdown",
    "bench",
    "versus",
    "roofline",
    "doctor",
    "methods",
    "progress",
    "board",
    "provenance",
    "runs",
    "scan",
    "corpora.copies",
    "corpora.synthetic",
    *(f"corpora.{name}" for name in ("savee", "meld", "ravdess", "emodb", "crema", "enterface", "casia")),
    *(f"corpora.{name}" for name in ("fer2013", "ck", "folder", "unlabelled")),
    "cli.app",
    "cli.options",
    "cli.deploy",
    "cli.show",
    "cli.runs",
    "cli.show_runs",
    "cli.show_bench",
    "cli.run_bench",
    "cli.stream",
    "cli.serve",
    "cli.tune",
    "cli.show_tune",
    "cli.live_view",
    "cli.show_stream",
    "cli.show_windows",
]
TRAINING_ONLY = {
    "torch",
    "torchvision",
    "librosa",
    "sklearn",
    "onnx",
    "onnxscript",
    "safetensors",
    "matplotlib",
    "PIL",
    "av",
    "cv2",
    "optuna",
}


def modules() -> dict[str, Path]:
    # rglob does not follow the link fdan_edge/export
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE / "export").glob("*.py")]
    named = {".".join(("fdan_edge", *f.relative_to(PACKAGE).with_suffix("").parts)): f for f in files}
    return {name.removesuffix(".__init__"): file for name, file in named.items()}


def imports(file: Path, *, top_level: bool = False) -> Iterator[str]:
    """Modules that a file imports; at its top level only, what is under TYPE_CHECKING left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0, f"{file}: relative import"
            inside = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules() else node.module for name in inside)


def place(module: str) -> int:
    """Index in ORDER of the module or of the package that it is in."""
    if module == "fdan_edge":
        return 0
    found = [i for i, name in enumerate(ORDER[1:], 1) if module == name or module.startswith(f"{name}.")]
    assert found, f"{module} has no layer: add it to LAYERS"
    return found[-1]


def unit(module: str) -> str:
    return ORDER[place(module)]


@pytest.mark.parametrize("name", sorted(modules()))
def test_modules_import_downwards_only(name: str) -> None:
    for imported in imports(modules()[name], top_level=True):
        if imported.split(".")[0] == "fdan_edge" and unit(imported) != unit(name):
            assert place(imported) < place(name), f"{name} imports {imported}, which is above it"


def test_every_layer_entry_exists_and_every_module_has_a_layer() -> None:
    assert set(ORDER) <= set(modules())
    for name in modules():
        assert place(name) >= 0


@pytest.mark.parametrize("name", RUNTIME)
def test_the_runtime_imports_no_training_package(name: str) -> None:
    """Directly or through what it imports, at top level."""
    waiting, seen = [f"fdan_edge.{name}"], set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for imported in imports(modules()[module], top_level=True):
            assert imported.split(".")[0] not in TRAINING_ONLY, f"fdan_edge.{name} -> {module} imports {imported}"
            if imported in modules():
                waiting.append(imported)


def test_files_can_be_read_in_one_sitting() -> None:
    long = {name: lines for name, file in modules().items() if (lines := len(file.read_text().splitlines())) > 400}
    assert not long
