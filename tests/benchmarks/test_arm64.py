"""The script of `make arm64`: what it asks for, compares and leaves behind. No arm64 system is made here."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import arm64  # noqa: E402


def answer(emotion: str, **probabilities: float) -> dict[str, Any]:
    return {"emotion": emotion, "probabilities": probabilities}


def test_the_largest_difference_counts() -> None:
    ours = [answer("sad", sad=0.9, angry=0.1), answer("angry", sad=0.49995, angry=0.50005)]
    theirs = [answer("sad", sad=0.89999, angry=0.10001), answer("sad", sad=0.50005, angry=0.49995)]
    assert arm64.compare(ours, theirs) == {"recordings": 2, "largest_difference": 0.0001, "other_labels": 1}


@pytest.mark.parametrize("theirs", [[], [answer("sad", sad=1.0)] * 2])
def test_a_recording_that_is_missing_is_an_error(
    theirs: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        arm64.compare([answer("sad", sad=1.0)], theirs)
    assert f"1 recordings were named here, {len(theirs)} there" in capsys.readouterr().err


def test_missing_tools_are_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "debootstrap" else f"/usr/bin/{name}")
    with pytest.raises(SystemExit, match="2"):
        arm64.check_tools()
    assert capsys.readouterr().err == (
        "error: debootstrap not found: apt-get install debootstrap qemu-user-static\n"
    )


def test_models_for_cpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "bundle.json"
    entries = [("model.onnx", "fp32", ["cpu", "cuda"]), ("model.fp16.onnx", "fp16", ["rtx"])]
    artifacts = [
        {"file": file, "precision": precision, "targets": targets} for file, precision, targets in entries
    ]
    manifest.write_text(json.dumps({"schema": 3, "artifacts": artifacts}))
    assert arm64.models_for_cpu(tmp_path) == [("model.onnx", "fp32")]
    manifest.write_text(json.dumps({"schema": 3, "artifacts": artifacts[1:]}))
    with pytest.raises(SystemExit, match="2"):
        arm64.models_for_cpu(tmp_path)
    assert "holds no model for CPUs; `fdan-edge export" in capsys.readouterr().err


def test_wheels_that_the_devices_libraries_can_load() -> None:
    options = arm64.platform_options("3.10", 35)
    assert "--python-version=3.10" in options
    assert "--platform=manylinux_2_35_aarch64" in options
    assert "--platform=manylinux2014_aarch64" in options
    assert "--platform=manylinux_2_36_aarch64" not in options


def test_the_rule_knows_arm64_programs_and_no_others() -> None:
    """The first bytes of an ELF file: 64 bits, little-endian, of type 2 or 3, for machine 183."""
    name, kind, offset, magic, mask, interpreter, flags = arm64.RULE.split(":")[1:]
    assert (name, kind, offset, interpreter) == ("fdan-edge-aarch64", "M", "", arm64.QEMU)
    assert set(flags) == set("OCF")
    want, cover = (text.encode().decode("unicode_escape").encode("latin-1") for text in (magic, mask))
    assert len(want) == len(cover) == 20

    def fits(machine: int, kind: int) -> bool:
        head = b"\x7fELF\x02\x01\x01" + bytes(9) + kind.to_bytes(2, "little") + machine.to_bytes(2, "little")
        return all((byte & c) == (w & c) for byte, w, c in zip(head, want, cover, strict=True))

    assert fits(183, 2)
    assert fits(183, 3)
    assert not fits(62, 2)  # x86-64
    assert not fits(40, 2)  # 32-bit ARM


def test_the_kernel_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm64, "BINFMT", tmp_path)
    monkeypatch.setattr("os.uname", lambda: type("Name", (), {"machine": "x86_64"}))
    (tmp_path / "register").touch()

    def cut_off() -> None:
        with arm64.emulation():
            assert (tmp_path / "register").read_text() == arm64.RULE
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert (tmp_path / "fdan-edge-aarch64").read_text() == "-1"


def test_an_emulator_that_is_registered_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm64, "BINFMT", tmp_path)
    (tmp_path / "qemu-aarch64").write_text("enabled")
    (tmp_path / "register").touch()
    with arm64.emulation():
        pass
    assert (tmp_path / "qemu-aarch64").read_text() == "enabled"
    assert (tmp_path / "register").read_text() == ""


RESULT = ROOT / "benchmarks" / "results" / "arm64.json"


@pytest.mark.skipif(not RESULT.exists(), reason="make arm64 has recorded nothing yet")
def test_the_recorded_result() -> None:
    """What the README's words rest on."""
    found = json.loads(RESULT.read_text())
    assert found["versions"]["machine"] == "aarch64"
    assert found["wheel"].endswith("-py3-none-any.whl")
    assert found["models"]
    assert all(model["largest_difference"] <= model["limit"] for model in found["models"].values())
    assert found["tests"]["passed"] > 100
    assert found["tests"]["failures"] == found["tests"]["errors"] == 0
    assert set(found["resolved_for_jetpack"]) == set(arm64.JETPACKS)
