"""TensorRT's runner on a stand-in for the GPU that keeps its rules; no GPU has run it yet."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdan_edge.errors import FdanEdgeError, MissingDependencyError
from fdan_edge.runtime.onnx import OnnxRunner
from fdan_edge.runtime.tensorrt.batches import PROFILES
from fdan_edge.runtime.tensorrt.compatibility import Fingerprint
from fdan_edge.runtime.tensorrt.runner import TensorRtRunner
from tests.helpers import fake_gpu
from tests.helpers.fake_gpu import MARK, Driver, Gpu
from tests.helpers.tiny_models import SPEC, model

WINDOWS = np.random.default_rng(0).standard_normal((20, SPEC.window)).astype(np.float32)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> tuple[Gpu, Driver]:
    return fake_gpu.install(monkeypatch, tensorrt="10.3.0", tensorrt_rtx="1.7.1")


@pytest.fixture
def gpu(machine: tuple[Gpu, Driver]) -> Gpu:
    return machine[0]


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return model(tmp_path / "m.onnx")


def fingerprint(flavour: str) -> Fingerprint:
    return Fingerprint(flavour, "10.3.0", "8.7", "12.6", "fp16", "0" * 64, "linux-aarch64")


def opened(onnx_file: Path, flavour: str = "trt", **more: Any) -> TensorRtRunner:
    content = MARK + onnx_file.read_bytes()
    return TensorRtRunner(content, fingerprint(flavour), SPEC, onnx_file.with_suffix(".engine"), **more)


#: Of an engine that was built before there were several.
ONE = ((1, 1, 4),)


@pytest.fixture(params=[ONE, PROFILES], ids=["one profile", "all profiles"])
def any_profiles(request: pytest.FixtureRequest, gpu: Gpu) -> None:
    gpu.profiles = request.param


@pytest.mark.usefixtures("any_profiles")
@pytest.mark.parametrize("flavour", ["trt", "rtx"])
def test_the_same_numbers_as_onnx_runtime(gpu: Gpu, onnx_file: Path, flavour: str) -> None:
    with OnnxRunner(onnx_file) as reference, opened(onnx_file, flavour) as runner:
        for size in (
            1,
            2,
            1,
            4,
            4,
            4,
            3,
            1,
            11,
            11,
            2,
            20,
            20,
            15,
        ):  # again and again: graphs too
            chances = runner.predict(WINDOWS[-size:])
            assert chances.dtype == np.float32
            np.testing.assert_array_equal(chances, reference.predict(WINDOWS[-size:]))
            assert not gpu.current  # what was current before is current again
    assert gpu.left() == []


def test_no_windows_and_other_shapes(gpu: Gpu, onnx_file: Path) -> None:
    with opened(onnx_file) as runner:
        assert runner.predict(np.zeros((0, SPEC.window), np.float32)).shape == (0, 2)
        with pytest.raises(ValueError, match=r"\(n, 4\), got \(1, 5\)"):
            runner.predict(np.zeros((1, 5), np.float32))
    assert gpu.left() == []


def test_results_outlive_the_next_call(gpu: Gpu, onnx_file: Path) -> None:
    with opened(onnx_file) as runner:
        first = runner.predict(WINDOWS[:2])
        kept = first.copy()
        runner.predict(WINDOWS[4:6])
    np.testing.assert_array_equal(first, kept)
    assert gpu.left() == []


def test_classic_tensorrt_records_a_size_that_comes_twice_in_a_row(gpu: Gpu, onnx_file: Path) -> None:
    with opened(onnx_file) as runner:
        for _ in range(4):
            runner.predict(WINDOWS[:2])
        assert gpu.log.count("cuStreamBeginCapture_v2") == 1
        assert gpu.log.count("execute") == 3  # two runs and the recording
        gpu.log.clear()
        runner.predict(WINDOWS[:2])
        assert gpu.log == ["htod", "cuGraphLaunch", "dtoh", "synchronize"]


def test_a_recording_does_not_outlive_its_shape(gpu: Gpu, onnx_file: Path) -> None:
    """The stand-in refuses what was recorded before the execution context was changed, as NVIDIA says."""
    with OnnxRunner(onnx_file) as reference, opened(onnx_file) as runner:
        for size in (2, 2, 2, 1, 2, 1, 2, 2, 2):
            np.testing.assert_array_equal(runner.predict(WINDOWS[:size]), reference.predict(WINDOWS[:size]))
            assert gpu.living.count("launchable graph") <= 1
            if size == 1:
                assert "launchable graph" not in gpu.living
    assert (gpu.log.count("cuStreamBeginCapture_v2"), gpu.log.count("cuGraphLaunch")) == (2, 1)
    assert gpu.left() == []


def test_a_size_that_does_not_come_again_is_not_recorded(gpu: Gpu, onnx_file: Path) -> None:
    """In files of 11 windows each, batches of 4, 4 and 3, all were recorded once more and none was launched."""
    with opened(onnx_file) as runner:
        for _ in range(10):
            runner.predict(WINDOWS[:11])
        assert gpu.log.count("cuStreamBeginCapture_v2") == runner.recorded == 1
        assert gpu.log.count("cuGraphLaunch") == runner.launched == 28


@pytest.mark.parametrize("sizes", [(2, 2, 1), (2, 2, 1, 1), (2, 2, 2, 1)])
def test_recordings_that_do_not_pay_become_rare(gpu: Gpu, onnx_file: Path, sizes: tuple[int, ...]) -> None:
    with opened(onnx_file) as runner:
        for size in sizes * 20:
            runner.predict(WINDOWS[:size])
        assert gpu.log.count("cuStreamBeginCapture_v2") == runner.recorded <= 2
        before = runner.launched
        for _ in range(100):  # what comes again in the end is recorded all the same
            runner.predict(WINDOWS[:2])
        assert runner.launched - before >= 90


def test_recordings_that_pay_are_made_at_once_again(gpu: Gpu, onnx_file: Path) -> None:
    with opened(onnx_file) as runner:
        for _ in range(5):
            for size in [1] * 10 + [2] * 10:
                runner.predict(WINDOWS[:size])
        assert (runner.recorded, runner.launched) == (10, 80)
    assert gpu.left() == []


def test_a_batch_above_the_largest_is_split(gpu: Gpu, onnx_file: Path) -> None:
    with opened(onnx_file) as runner:
        runner.predict(WINDOWS[:10])
        assert [line for line in gpu.log if line.startswith("shape")] == ["shape 4", "shape 2"]
        assert gpu.log.count("htod") == 3


@pytest.mark.parametrize("flavour", ["trt", "rtx"])
def test_each_profile_has_a_context_with_memory_of_its_own(gpu: Gpu, onnx_file: Path, flavour: str) -> None:
    gpu.profiles = PROFILES
    with opened(onnx_file, flavour):
        assert gpu.living.count("execution context") == 3
        assert [line for line in gpu.log if line.startswith("memory")] == [
            "memory for 1",
            "memory for 4",
            "memory for 16",
        ]
    assert gpu.left() == []


def test_batches_of_all_sizes_keep_their_graphs_where_there_are_profiles(gpu: Gpu, onnx_file: Path) -> None:
    """Only three shapes are ever set, so a recording of each is launched for ever."""
    gpu.profiles = PROFILES
    with opened(onnx_file) as runner:
        for size in (*range(1, 21), *range(20, 0, -1)):
            runner.predict(WINDOWS[:size])
        assert sorted(line for line in gpu.log if line.startswith("shape")) == ["shape 1", "shape 16", "shape 4"]
        assert runner.recorded == 3
        gpu.log.clear()
        for size in (1, 3, 4, 16, 20):
            runner.predict(WINDOWS[:size])
        assert "execute" not in gpu.log
        assert gpu.log.count("cuGraphLaunch") == 6


def test_a_profile_that_is_refused(gpu: Gpu, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.profiles = PROFILES
    choose = fake_gpu.ExecutionContext.set_optimization_profile_async
    monkeypatch.setattr(
        fake_gpu.ExecutionContext,
        "set_optimization_profile_async",
        lambda self, index, stream: index < 2 and choose(self, index, stream),
    )
    with pytest.raises(FdanEdgeError, match=r"m\.engine: could not be started: TensorRT 10\.3\.0"):
        opened(onnx_file)
    assert gpu.left() == []


def test_the_gpu_is_retained_once_and_current_nowhere(gpu: Gpu, onnx_file: Path) -> None:
    """pycuda's detach leaves the device current on its thread, and does nothing on another one."""
    for _ in range(3):
        with opened(onnx_file) as runner:
            runner.predict(WINDOWS[:1])
            assert not gpu.current
    assert gpu.log.count("retain") == 1
    assert gpu.left() == []


def test_a_runner_is_used_and_closed_by_other_threads(gpu: Gpu, onnx_file: Path) -> None:
    runners: list[TensorRtRunner] = []
    for work in (
        lambda: runners.append(opened(onnx_file)),
        lambda: runners[0].predict(WINDOWS[:2]),
        lambda: runners[0].close(),
    ):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(work).result()
    assert gpu.left() == []
    with opened(onnx_file) as runner:
        runner.predict(WINDOWS[:2])
    assert gpu.log.count("retain") == 1
    assert gpu.left() == []


@pytest.mark.usefixtures("any_profiles")
def test_threads_take_turns(gpu: Gpu, onnx_file: Path) -> None:
    """pycuda lets go of Python's lock in each copy and wait; there is one set of buffers."""
    gpu.pause = 0.002
    sizes = [1, 2, 4, 7, 11, 16] * 4
    parts = [WINDOWS[i % 4 : i % 4 + size] for i, size in enumerate(sizes)]
    with OnnxRunner(onnx_file) as reference, opened(onnx_file) as runner:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(runner.predict, parts))
        for part, answer in zip(parts, answers, strict=True):
            np.testing.assert_array_equal(answer, reference.predict(part))
    assert gpu.left() == []


def test_closing_waits_for_a_prediction(gpu: Gpu, onnx_file: Path) -> None:
    gpu.pause = 0.02
    runner = opened(onnx_file)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(runner.predict, WINDOWS)
        while "htod" not in gpu.log:
            pass
        runner.close()
        assert answer.result().shape == (20, 2)
    assert gpu.left() == []


def test_a_runner_that_nobody_closed_is_freed_by_the_next(gpu: Gpu, onnx_file: Path) -> None:
    """The collector may run in a callback of TensorRT's, where freeing would wait for ever."""
    opened(onnx_file).predict(WINDOWS[:1])
    gc.collect()
    assert "engine" in gpu.living
    with opened(onnx_file) as runner:
        assert gpu.living.count("engine") == 1
        runner.predict(WINDOWS[:1])
    assert gpu.left() == []


def test_times_by_part_add_up_over_a_split_batch(gpu: Gpu, onnx_file: Path) -> None:  # noqa: ARG001
    with opened(onnx_file) as runner:
        runner.predict(WINDOWS[:4])
        one = dict(runner.times)
        assert list(one) == ["copy in", "compute", "copy out"]
        assert all(milliseconds > 0 for milliseconds in one.values())
        runner.predict(WINDOWS)
        assert all(runner.times[part] > one[part] for part in one)


@pytest.mark.parametrize("step", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_refused_capture_is_said_once_and_lived_without(
    machine: tuple[Gpu, Driver], onnx_file: Path, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    gpu, driver = machine
    driver.refuse = step
    with OnnxRunner(onnx_file) as reference, opened(onnx_file) as runner:
        for size in (1, 1, 2, 1):
            np.testing.assert_array_equal(runner.predict(WINDOWS[:size]), reference.predict(WINDOWS[:size]))
    said = capsys.readouterr().err
    assert f"runs without CUDA graphs: {step}: operation failed due to a previous error" in said
    assert said.count("\n") == 1
    assert gpu.left() == []


def test_work_that_cannot_be_recorded_leaves_the_stream_usable(
    gpu: Gpu, onnx_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    execute = fake_gpu.ExecutionContext.execute_async_v3

    def refuses(self: fake_gpu.ExecutionContext, stream: int) -> bool:
        return execute(self, stream) if gpu.streams[stream].captured is None else False

    monkeypatch.setattr(fake_gpu.ExecutionContext, "execute_async_v3", refuses)
    with OnnxRunner(onnx_file) as reference, opened(onnx_file) as runner:
        for _ in range(2):
            np.testing.assert_array_equal(runner.predict(WINDOWS[:2]), reference.predict(WINDOWS[:2]))
    assert "runs without CUDA graphs: " in capsys.readouterr().err
    assert gpu.left() == []


def test_tensorrt_for_rtx_records_by_itself_and_keeps_what_it_compiles(
    gpu: Gpu, onnx_file: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "deep" / "m.jit"
    with opened(onnx_file, "rtx", jit_cache=cache) as runner:
        runner.predict(WINDOWS[:1])
    assert "graphs WHOLE_GRAPH_CAPTURE" in gpu.log
    assert "cuStreamBeginCapture_v2" not in gpu.log
    assert "runtime cache of b''" in gpu.log
    assert cache.read_bytes() == b"compiled"
    with opened(onnx_file, "rtx", jit_cache=cache):
        assert "runtime cache of b'compiled'" in gpu.log
    assert gpu.left() == []


def test_a_cache_that_cannot_be_written_is_no_error(gpu: Gpu, onnx_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with opened(onnx_file, "rtx", jit_cache=tmp_path / "file" / "m.jit") as runner:
        runner.predict(WINDOWS[:1])
    assert gpu.left() == []


def test_an_engine_that_is_not_loaded(gpu: Gpu, onnx_file: Path) -> None:
    with pytest.raises(
        FdanEdgeError, match=r"x\.engine: could not be loaded: TensorRT 10\.3\.0: IRuntime.*"
    ) as caught:
        TensorRtRunner(b"garbage", fingerprint("trt"), SPEC, Path("x.engine"))
    assert "\n" not in str(caught.value)
    assert gpu.left() == []
    assert onnx_file.exists()


def test_engines_of_something_else(gpu: Gpu, tmp_path: Path) -> None:
    with pytest.raises(FdanEdgeError, match="not an engine of fdan-edge: its tensors are image, scores"):
        opened(model(tmp_path / "a.onnx", names=("image", "scores")))
    with pytest.raises(
        FdanEdgeError, match=r"not of this bundle, of 4 samples and 2 labels: \(-1, 8\) to \(-1, 3\)"
    ):
        opened(model(tmp_path / "b.onnx", window=8, classes=3))
    assert gpu.left() == []


@pytest.mark.parametrize(
    "step", ["runtime", "engine", "context", "pinned memory", "device memory", "stream", "event"]
)
def test_a_failure_on_the_way_frees_what_was_made(gpu: Gpu, onnx_file: Path, step: str) -> None:
    gpu.fail = step
    with pytest.raises(FdanEdgeError) as caught:
        opened(onnx_file)
    assert "\n" not in str(caught.value)
    assert gpu.left() == []


@pytest.mark.parametrize("step", ["htod", "dtoh", "execute", "synchronize", "shape 2"])
def test_a_failed_call_is_one_line_and_frees_everything(gpu: Gpu, onnx_file: Path, step: str) -> None:
    runner = opened(onnx_file)
    gpu.fail = step
    with pytest.raises(FdanEdgeError, match=r"m\.engine: ") as caught, runner:
        runner.predict(WINDOWS[:2])
    assert "\n" not in str(caught.value)
    assert gpu.left() == []


def test_closed_twice_and_used_afterwards(gpu: Gpu, onnx_file: Path) -> None:
    with opened(onnx_file) as runner:
        runner.predict(WINDOWS[:1])
        runner.close()
        assert gpu.left() == []
    with pytest.raises(ValueError, match="the runner is closed"):
        runner.predict(WINDOWS[:1])


def test_two_runners_share_the_gpu(gpu: Gpu, onnx_file: Path) -> None:
    with opened(onnx_file) as one, opened(onnx_file, "rtx") as other:
        np.testing.assert_array_equal(one.predict(WINDOWS[:3]), other.predict(WINDOWS[:3]))
    assert gpu.left() == []


def test_missing_packages(monkeypatch: pytest.MonkeyPatch, gpu: Gpu, onnx_file: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MissingDependencyError, match=r"TensorRT needs pycuda, .*: pip install pycuda"):
        opened(onnx_file)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingDependencyError, match="an engine needs TensorRT for RTX"):
        opened(onnx_file, "rtx")
    assert gpu.left() == []


@pytest.mark.rtx
def test_the_stand_in_does_nothing_that_tensorrt_cannot() -> None:
    import tensorrt_rtx as real

    stands_for = {
        fake_gpu.ExecutionContext: real.IExecutionContext,
        fake_gpu.Engine: real.ICudaEngine,
        fake_gpu.RuntimeCache: real.IRuntimeCache,
        fake_gpu.RuntimeConfig: real.IRuntimeConfig,
        fake_gpu.Runtime: real.Runtime,
    }
    for fake, meant in stands_for.items():
        names = {name for name in vars(fake) if not name.startswith("_")}
        own = {"kind", "strategy", "content"}
        assert names - own <= set(dir(meant)), fake
    assert {"num_io_tensors", "num_optimization_profiles"} <= set(dir(real.ICudaEngine))
    assert real.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE is not None
    assert real.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE is not None
    assert "runtime_config" in real.ICudaEngine.create_execution_context.__doc__
