"""Which runtime runs a bundle here: the first that can, and why not the others, in one line each."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fdan_edge.errors import BundleError, ConfigError
from fdan_edge.runtime.bundle import MODEL, write_manifest
from fdan_edge.runtime.manifest import STREAM_SUFFIX, EngineFile
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.onnx_stream import OnnxFrameRunner
from fdan_edge.runtime.opening import (
    Variant,
    open_feature_runner,
    open_runner,
    open_stream_runner,
    variants,
)
from fdan_edge.runtime.runtime_choice import RUNTIMES
from fdan_edge.runtime.tensorrt import compatibility, engines
from fdan_edge.runtime.tensorrt.compatibility import PORTABLE, Gpu
from fdan_edge.utils import messages
from tests.helpers import fake_gpu
from tests.helpers.bundles import artifact, manifest
from tests.helpers.bundles import engine as engine_entry
from tests.helpers.fake_gpu import MARK
from tests.helpers.tiny_models import SPEC, model, stream_model

WINDOWS = np.random.default_rng(0).standard_normal((6, SPEC.window)).astype(np.float32)
FP16, INT8, S8S8 = "model.fp16.onnx", "model.int8-u8s8.onnx", "model.int8-s8s8.onnx"
ADA = Gpu("8.9", "13.0", 24 << 30)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Make a bundle of artifacts (file=targets) and an engine for RTX cards of the last of them."""

    def made(
        *artifacts: tuple[str, str, tuple[str, ...]],
        engine: str = "",
        version: str = "1.7.1",
        streams: bool = False,
    ) -> Path:
        folder = tmp_path / "b"
        folder.mkdir()
        entries = []
        for file, precision, targets in artifacts:
            model(folder / file)
            stream = stream_model(folder / file.replace(".onnx", STREAM_SUFFIX)) if streams else None
            entries.append(artifact(folder / file, precision, targets, stream))
        listed: tuple[EngineFile, ...] = ()
        if engine:
            (folder / "engine").write_bytes(MARK + (folder / file).read_bytes())
            paths = folder / "engine", folder / file
            listed = (engine_entry(*paths, version=version, capability=engine, precision=precision),)
        write_manifest(folder, manifest(*entries, engines=listed))
        return folder

    return made


@dataclass
class Machine:
    """A pretended GPU with TensorRT for RTX on it."""

    gpu: fake_gpu.Gpu
    built: list[Path]


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> Machine:
    gpu, _ = fake_gpu.install(monkeypatch, tensorrt_rtx="1.7.1")
    monkeypatch.setattr(compatibility, "find_gpu", lambda: ADA)
    built: list[Path] = []

    def serialize(_tensorrt: Any, content: bytes, onnx_path: Path, *_: Any) -> bytes:
        built.append(onnx_path)
        return MARK + content

    monkeypatch.setattr(engines, "serialize", serialize)  # what builds really is tested in test_engines.py
    return Machine(gpu, built)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_on_a_cpu_the_artifact_that_was_made_for_it(
    make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make((MODEL, "fp32", ("jetson-jp6x",)), (INT8, "int8", ("cpu",)))
    with open_runner(folder) as runner:
        assert runner.name == "ONNX Runtime CPU int8"
    with open_runner(folder, artifact="fp32") as runner:
        assert runner.name == "ONNX Runtime CPU fp32"
    with open_runner(folder, artifact=MODEL, runtime="onnxruntime-cpu") as runner:
        assert runner.name == "ONNX Runtime CPU fp32"
    assert said(capsys) == []


BOTH = ((MODEL, "fp32", ("cpu", "rtx")), (S8S8, "int8", ("rtx",)), (INT8, "int8", ("cpu",)))


@pytest.mark.parametrize("wish", [None, "onnxruntime-cpu"])
def test_a_precision_with_two_formats_on_a_cpu(make: Callable[..., Path], wish: str | None) -> None:
    folder = make(*BOTH)
    with open_runner(folder, artifact="int8", runtime=wish) as runner:
        assert runner.name == "ONNX Runtime CPU int8"
    (folder / INT8).unlink()
    with pytest.raises(BundleError, match=f"{INT8}: missing from the bundle"):
        open_runner(folder, artifact="int8", runtime=wish)
    with open_runner(folder, artifact=S8S8, runtime=wish) as runner:  # by its name it is taken all the same
        assert runner.name == "ONNX Runtime CPU int8"


def test_a_precision_with_two_formats_in_tensorrt(make: Callable[..., Path], rtx: Machine) -> None:
    folder = make(*BOTH)
    with open_runner(folder, artifact="int8", runtime="tensorrt-rtx", rebuild=True) as runner:
        assert runner.name == "TensorRT for RTX int8"
    assert rtx.built == [folder / S8S8]


def test_on_a_cpu_fp32_where_nothing_was_made_for_it(
    make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make((FP16, "fp16", ("rtx",)), (MODEL, "fp32", ("rtx",)), engine=PORTABLE)
    with open_runner(folder) as runner:
        assert runner.name == "ONNX Runtime CPU fp32"
    assert said(capsys) == []  # it would be the same line at every call
    messages.show_all()
    with open_runner(folder) as runner:
        assert runner.name == "ONNX Runtime CPU fp32"
    assert said(capsys) == [
        f"{folder}: not run by tensorrt-rtx: needs an NVIDIA GPU and its driver, and finds none"
    ]


def test_a_fitting_engine_is_run(
    make: Callable[..., Path], rtx: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make((MODEL, "fp32", ("cpu",)), (FP16, "fp16", ("rtx",)), engine=PORTABLE)
    with open_runner(folder) as runner, OnnxRunner(folder / FP16) as reference:
        assert runner.name == "TensorRT for RTX fp16"
        assert runner.spec == SPEC
        np.testing.assert_array_equal(runner.predict(WINDOWS), reference.predict(WINDOWS))
    assert rtx.gpu.living == []
    assert rtx.built == []
    assert said(capsys) == []
    assert list(engines.folder().glob("*.jit"))


def test_embeddings_are_not_an_engines(make: Callable[..., Path], rtx: Machine) -> None:
    """ONNX Runtime is asked: it is what misses a classifier in this file."""
    folder = make((MODEL, "fp32", ("rtx",)), engine=PORTABLE)
    with pytest.raises(BundleError, match=f"{MODEL}: has no classifier"):
        open_feature_runner(folder)
    assert rtx.gpu.living == []


def test_a_misfit_is_said_and_something_else_runs(
    make: Callable[..., Path],
    rtx: Machine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make((MODEL, "fp32", ("rtx",)), engine=PORTABLE, version="1.6.0")
    reason = "engine was built by TensorRT for RTX 1.6.0, this is 1.7.1; --rebuild builds one here"
    with open_runner(folder) as runner:
        assert runner.name == "ONNX Runtime CPU fp32"
    assert said(capsys) == [f"{folder}: not run by tensorrt-rtx: {reason}"]
    with pytest.raises(BundleError) as caught:
        open_runner(folder, runtime="tensorrt-rtx")
    assert str(caught.value) == f"{folder}: tensorrt-rtx cannot run it here: {reason}"
    assert rtx.built == []


def test_a_misfit_is_rebuilt_where_that_is_wanted_and_kept(
    make: Callable[..., Path], rtx: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make((MODEL, "fp32", ("cpu",)), (FP16, "fp16", ("rtx",)), engine="7.5")
    assert Variant(str(folder), FP16, "fp16", "tensorrt-rtx") not in variants(folder)
    for rebuild in (True, True, False):
        with open_runner(folder, rebuild=rebuild) as runner, OnnxRunner(folder / FP16) as reference:
            assert runner.name == "TensorRT for RTX fp16"
            np.testing.assert_array_equal(runner.predict(WINDOWS), reference.predict(WINDOWS))
    assert rtx.built == [folder / FP16]
    assert said(capsys) == []
    assert Variant(str(folder), FP16, "fp16", "tensorrt-rtx") in variants(folder)


def test_a_rebuild_is_for_what_is_installed_whatever_the_bundle_was_made_for(
    make: Callable[..., Path], rtx: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make((INT8, "int8", ("cpu",)), (MODEL, "fp32", ("cpu",)))
    with open_runner(folder) as runner:
        assert runner.name == "ONNX Runtime CPU int8"
    with open_runner(folder, rebuild=True) as runner:
        assert runner.name == "TensorRT for RTX fp32"
    assert rtx.built == [folder / MODEL]
    assert said(capsys) == []
    with open_runner(folder, artifact="int8", rebuild=True) as runner:
        assert runner.name == "ONNX Runtime CPU int8"
    reason = "it does not take int8 in the format u8s8, which is for CPUs"
    assert said(capsys) == [f"{folder}: not run by tensorrt-rtx: {reason}"]
    assert rtx.built == [folder / MODEL]


def test_a_rebuild_that_cannot_be_says_why(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make((MODEL, "fp32", ("cpu",)))
    fake_gpu.install(monkeypatch, tensorrt="10.3.0")
    with open_runner(folder, rebuild=True) as runner:
        assert runner.name == "ONNX Runtime CPU fp32"
    reason = "needs an NVIDIA GPU and its driver, and finds none"
    assert said(capsys) == [f"{folder}: not run by tensorrt: {reason}"]


def test_a_tampered_engine_is_refused_whatever_else_could_run(make: Callable[..., Path], rtx: Machine) -> None:
    folder = make((MODEL, "fp32", ("cpu", "rtx")), engine=PORTABLE)
    content = bytearray((folder / "engine").read_bytes())
    content[-1] ^= 1
    (folder / "engine").write_bytes(content)
    with pytest.raises(BundleError, match="engine: changed since its export"):
        open_runner(folder)
    assert rtx.gpu.log == []  # nothing of it was looked at


def test_a_tampered_model_is_not_rebuilt(make: Callable[..., Path], rtx: Machine) -> None:
    folder = make((MODEL, "fp32", ("rtx",)))
    (folder / MODEL).write_bytes(b"something else" * 99)
    with pytest.raises(BundleError, match=r"model\.onnx: changed since its export"):
        open_runner(folder, rebuild=True)
    assert rtx.built == []


def test_an_engine_that_tensorrt_does_not_load_is_said(
    make: Callable[..., Path], rtx: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make((MODEL, "fp32", ("rtx",)), engine=PORTABLE)
    rtx.gpu.fail = "engine"
    with open_runner(folder) as runner:
        assert runner.name == "ONNX Runtime CPU fp32"
    (line,) = said(capsys)
    assert line.startswith(f"{folder}: not run by tensorrt-rtx: {folder / 'engine'}: CUDA failed: engine failed")
    assert rtx.gpu.living == []


def test_what_is_missing_is_said(
    make: Callable[..., Path], rtx: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make((MODEL, "fp32", ("rtx",)), engine=PORTABLE)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    open_runner(folder)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    open_runner(folder)
    monkeypatch.setattr(compatibility, "find_gpu", lambda: replace(ADA, compute_capability="9.0"))
    assert said(capsys) == [
        f"{folder}: not run by tensorrt-rtx: needs pycuda, which is not installed: pip install pycuda",
        f"{folder}: not run by tensorrt-rtx: needs TensorRT for RTX, which is not installed",
    ]
    assert rtx.gpu.log == []


def test_a_card_that_the_flavour_does_not_run_on_is_not_built_for(
    make: Callable[..., Path], rtx: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compatibility, "find_gpu", lambda: replace(ADA, compute_capability="9.0"))
    folder = make((MODEL, "fp32", ("rtx",)))
    with pytest.raises(BundleError, match=r"TensorRT for RTX does not run on compute capability 9\.0"):
        open_runner(folder, runtime="tensorrt-rtx", rebuild=True)
    assert rtx.built == []


def cuda(patch: pytest.MonkeyPatch, *, starts: bool) -> list[int]:
    """Pretend that ONNX Runtime has CUDA; its sessions run on the CPU, whatever they call themselves.

    Gives the batch of each buffer that is made, when it is.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession

    def opened(path: str, options: Any, providers: list[tuple[str, dict[str, str]]], **_: Any) -> Any:
        made = session(path, options, providers=["CPUExecutionProvider"])
        if starts and providers[0][0] == "CUDAExecutionProvider":
            assert providers[0][1] == {"use_tf32": "0", "gpu_mem_limit": str(4 << 30)}
            made.get_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        return made

    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    patch.setattr(onnxruntime, "get_available_providers", lambda: names)
    patch.setattr(onnxruntime, "InferenceSession", opened)
    patch.setattr(compatibility, "find_gpu", lambda: ADA)
    make = onnxruntime.OrtValue.ortvalue_from_shape_and_type
    batches: list[int] = []

    def buffer(shape: tuple[int, ...], kind: Any, _device: str, index: int) -> Any:
        batches.append(shape[0])
        return make(shape, kind, "cpu", index)

    patch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", buffer)
    return batches


def test_onnx_runtime_on_cuda_with_buffers_that_stay(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make((MODEL, "fp32", ("cpu",)), (FP16, "fp16", ("cuda",)))
    with OnnxRunner(folder / FP16) as reference:
        expected = reference.predict(WINDOWS)
        assert reference.times == {}
    made = cuda(monkeypatch, starts=True)
    with open_runner(folder) as runner:
        assert isinstance(runner, OnnxRunner)
        assert runner.name == "ONNX Runtime CUDA fp16"
        for size in (1, 6, 1, 3, *range(1, 7)):
            chances = runner.predict(WINDOWS[:size])
            np.testing.assert_array_equal(chances, expected[:size])
            assert list(runner.times) == ["copy in", "compute", "copy out"]
        first = runner.predict(WINDOWS[:2])
        runner.predict(WINDOWS[3:5])
        np.testing.assert_array_equal(first, expected[:2])  # a copy, not the buffer
        many = np.repeat(WINDOWS, 3, axis=0)
        for size in range(1, 13):
            runner.predict(many[:size])
        made.clear()
        for size in range(5, 13):  # the last 8 sizes have theirs still
            runner.predict(many[:size])
        assert made == []
        runner.predict(many[:4])
        assert made == [4, 4]  # input and output
        assert runner.predict(WINDOWS[:0]).shape == (0, 2)


def test_a_stream_on_cuda_with_buffers_that_stay(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make((INT8, "int8", ("cpu",)), (FP16, "fp16", ("cuda",)), streams=True)
    power = np.random.default_rng(0).random((6, 2, 3)).astype(np.float32)
    with open_stream_runner(folder) as runner:
        assert isinstance(runner, OnnxFrameRunner)
        assert runner.name == "ONNX Runtime CPU int8"
        expected = runner.predict_power(power)
    cuda(monkeypatch, starts=True)
    with open_stream_runner(folder) as runner:
        assert isinstance(runner, OnnxFrameRunner)
        assert runner.name == "ONNX Runtime CUDA fp16"
        for size in (1, 6, 3, 6):
            np.testing.assert_array_equal(runner.predict_power(power[:size]), expected[:size])
        assert list(runner.times) == ["copy in", "compute", "copy out"]
    assert len(variants(folder)) == 3  # graphs for streams are no variants of their own
    cuda(monkeypatch, starts=False)
    capsys.readouterr()
    with open_stream_runner(folder) as runner:
        assert runner.name == "ONNX Runtime CPU int8"
    assert "not run by onnxruntime-cuda: ONNX Runtime could not start CUDA" in said(capsys)[0]


def test_a_stream_runs_a_fitting_engine(make: Callable[..., Path], rtx: Machine) -> None:
    folder = make((MODEL, "fp32", ("cpu", "rtx")), engine=PORTABLE, streams=True)
    with open_stream_runner(folder) as runner:
        assert runner.name == "TensorRT for RTX fp32"
    with open_stream_runner(folder, runtime="onnxruntime-cpu") as runner:
        assert isinstance(runner, OnnxFrameRunner)
    with pytest.raises(ConfigError, match="unknown runtime 'tensort'"):
        open_stream_runner(folder, runtime="tensort")
    with pytest.raises(BundleError, match="no artifact 'int8'"):
        open_stream_runner(folder, artifact="int8")
    assert rtx.gpu.living == []


def test_int8_for_a_cpu_stays_there(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make((INT8, "int8", ("cpu",)))
    cuda(monkeypatch, starts=True)
    with open_runner(folder) as runner:
        assert runner.name == "ONNX Runtime CPU int8"
    with pytest.raises(BundleError, match="onnxruntime-cuda cannot run it here: int8 that was made for cpu"):
        open_runner(folder, runtime="onnxruntime-cuda")
    assert [variant.runtime for variant in variants(folder)] == ["onnxruntime-cpu"]


@pytest.mark.parametrize(
    ("others", "taken"),
    [
        ([(FP16, "fp16", ("rtx",))], "fp16"),
        ([(FP16, "fp16", ("rtx",)), (MODEL, "fp32", ("rtx",))], "fp32"),
        ([(MODEL, "fp32", ("cpu",)), (FP16, "fp16", ("cuda",))], "fp16"),
        ([(FP16, "fp16", ("rtx",)), (S8S8, "int8", ("cuda",))], "int8"),
    ],
)
def test_cuda_takes_its_own_then_fp32_then_what_is_not_int8(
    make: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    others: list[tuple[str, str, tuple[str, ...]]],
    taken: str,
) -> None:
    folder = make((INT8, "int8", ("cpu",)), *others)
    cuda(monkeypatch, starts=True)
    for wish in (None, "onnxruntime-cuda"):
        with open_runner(folder, runtime=wish) as runner:
            assert runner.name == f"ONNX Runtime CUDA {taken}"
    assert Variant(str(folder), INT8, "int8", "onnxruntime-cuda") not in variants(folder)


def test_cuda_that_does_not_start_is_said(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make((MODEL, "fp32", ("cuda",)))
    cuda(monkeypatch, starts=False)
    with open_runner(folder) as runner:
        assert runner.name == "ONNX Runtime CPU fp32"
    (line,) = said(capsys)
    assert line.startswith(f"{folder}: not run by onnxruntime-cuda: ONNX Runtime could not start CUDA")
    with pytest.raises(BundleError, match="onnxruntime-cuda cannot run it here: ONNX Runtime could not start"):
        open_runner(folder, runtime="onnxruntime-cuda")


def test_variants_and_their_numbers(
    make: Callable[..., Path], rtx: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make((MODEL, "fp32", ("cpu",)), (FP16, "fp16", ("rtx",)), engine=PORTABLE)
    cuda(monkeypatch, starts=True)
    found = variants(str(folder))
    assert [(v.artifact, v.precision, v.runtime) for v in found] == [
        (MODEL, "fp32", "onnxruntime-cuda"),
        (MODEL, "fp32", "onnxruntime-cpu"),
        (FP16, "fp16", "tensorrt-rtx"),
        (FP16, "fp16", "onnxruntime-cuda"),
        (FP16, "fp16", "onnxruntime-cpu"),
    ]
    answers, names = [], []
    for variant in found:
        with variant.open(threads=1) as runner:
            answers.append(runner.predict(WINDOWS))
            names.append(runner.name)
    assert len(set(names)) == len(found)
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
    assert rtx.gpu.living == []


def test_variants_of_files_and_runs(tmp_path: Path, run_folder: Path, bundle_folder: Path) -> None:
    path = model(tmp_path / "m.onnx")
    assert variants(path) == [Variant(str(path), "m.onnx", "", "onnxruntime-cpu")]
    assert variants(run_folder) == [Variant(str(run_folder), "", "fp32", "torch")]
    assert variants(bundle_folder) == [Variant(str(bundle_folder), "model.onnx", "fp32", "onnxruntime-cpu")]
    with variants(path)[0].open() as runner:
        assert runner.name == "ONNX Runtime CPU"
    with variants(run_folder)[0].open(1) as one, variants(bundle_folder)[0].open(1) as other:
        windows = 0.1 * np.random.default_rng(0).standard_normal((2, one.spec.window)).astype(np.float32)
        np.testing.assert_allclose(one.predict(windows), other.predict(windows), atol=1e-5)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"runtime": "tensorrt"}, "tensorrt cannot run it here: it runs the engines of a bundle"),
        (
            {"runtime": "torch"},
            "PyTorch runs run folders only; runtimes: tensorrt-rtx, tensorrt, onnxruntime-cuda",
        ),
        ({"artifact": "int8"}, "is one file, so there is no artifact 'int8' to choose"),
        ({"runtime": "onnxruntime-cuda"}, "onnxruntime-cuda cannot run it here: needs an NVIDIA GPU"),
    ],
)
def test_wishes_that_a_file_cannot_fulfil(tmp_path: Path, wish: dict[str, str], reason: str) -> None:
    with pytest.raises(BundleError, match=reason) as caught:
        open_runner(model(tmp_path / "m.onnx"), **wish)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_other_wishes(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make((MODEL, "fp32", ("cpu",)))
    with pytest.raises(ConfigError, match=f"unknown runtime 'tensort' .*valid: {', '.join(RUNTIMES)}"):
        open_runner(folder, runtime="tensort")
    with pytest.raises(BundleError, match=r"no artifact 'int8'; it holds fp32 \(model\.onnx\)$"):
        open_runner(folder, artifact="int8")
    (tmp_path / "run.toml").write_text("")
    with pytest.raises(BundleError, match="is a run folder, which onnxruntime-cpu does not run; valid: torch"):
        open_runner(tmp_path, runtime="onnxruntime-cpu")
    with pytest.raises(
        BundleError, match=f"an engine runs as a part of its bundle only; name the folder {folder}"
    ):
        open_runner(folder / "x.engine")


def test_an_artifact_in_half_precision_gives_the_same_on_a_cpu(tmp_path: Path) -> None:
    """As an export writes it: casts in the graph, fp32 outside."""
    path = model(tmp_path / "m.onnx")
    made = onnx.load(path)
    made.graph.node[1].input[0], made.graph.node[1].output[0] = "half", "half out"
    casts = [
        onnx.helper.make_node("Cast", ["first"], ["half"], to=onnx.TensorProto.FLOAT16),
        onnx.helper.make_node("Cast", ["half out"], ["probabilities"], to=onnx.TensorProto.FLOAT),
    ]
    made.graph.node.insert(1, casts[0])
    made.graph.node.append(casts[1])
    onnx.save(made, tmp_path / "half.onnx")
    with OnnxRunner(path) as one, OnnxRunner(tmp_path / "half.onnx", precision="fp16") as other:
        np.testing.assert_allclose(one.predict(WINDOWS), other.predict(WINDOWS), atol=2e-3)


def test_a_copy_elsewhere_runs_the_same(make: Callable[..., Path], rtx: Machine, tmp_path: Path) -> None:
    folder = make((MODEL, "fp32", ("rtx",)), engine=PORTABLE)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    with open_runner(folder) as one, open_runner(copy) as other:
        np.testing.assert_array_equal(one.predict(WINDOWS), other.predict(WINDOWS))
    assert rtx.gpu.living == []
