"""What the verb export prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdan_edge.cli.render import export
from fdan_edge.runtime.bundle import Bundle
from tests.helpers.bundles import artifact, engine, manifest


def test_what_is_written_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "[b]"  # square brackets are rich's markup
    folder.mkdir()
    sizes = {"README.md": 2_000, "m.engine": 10**7, "m.stream.onnx": 9_000_000, "model.onnx": 9_500_000}
    for name, size in sizes.items():
        (folder / name).write_bytes(bytes(size))
    model, stream = folder / "model.onnx", folder / "m.stream.onnx"
    entries = manifest(
        artifact(model, "fp16", ("rtx",), stream), engines=(engine(folder / "m.engine", model, precision="fp16"),)
    )
    export.exported(Bundle(folder, entries), [tmp_path / "triton"])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        f"bundle {folder}",
        "file              MB  for",
        "README.md       0.00",
        "m.engine       10.00  engine of model.onnx: rtx",
        "m.stream.onnx   9.00  live streams, from model.onnx",
        "model.onnx      9.50  fp16: rtx",
        "model.onnx checked: 32 real clips (of the test part): 0 labels differ",
        f"for Triton: {tmp_path / 'triton'}",
        f"next: fdan-edge infer {folder} FILE.wav",
    ]
