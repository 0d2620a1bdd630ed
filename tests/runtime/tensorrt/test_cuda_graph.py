"""CUDA graphs by the driver's functions, on a stand-in for the driver."""

from __future__ import annotations

import ctypes

import pytest

from fdan_edge.runtime.tensorrt.cuda_graph import CudaGraph, CudaGraphError
from fdan_edge.runtime.tensorrt.device import NON_BLOCKING
from tests.helpers import fake_gpu
from tests.helpers.fake_gpu import Driver, Gpu


@pytest.fixture
def driver() -> Driver:
    gpu = Gpu()
    gpu.current.append("context")
    return Driver(gpu)


def test_work_is_recorded_once_and_done_at_every_launch(driver: Driver) -> None:
    stream = fake_gpu.Stream(driver.gpu, NON_BLOCKING)
    done: list[int] = []
    graph = CudaGraph(stream.handle, lambda: stream.put(lambda: done.append(1)), driver)
    stream.synchronize()
    assert done == []
    for launches in (1, 2):
        graph.launch()
        assert len(done) == launches - 1  # it waits on the stream
        stream.synchronize()
        assert len(done) == launches
    graph.close()
    graph.close()
    assert driver.gpu.living == ["stream"]
    assert driver.gpu.graphs == {}


@pytest.mark.parametrize(
    "step", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphLaunch"]
)
def test_what_the_driver_refuses_is_named(driver: Driver, step: str) -> None:
    stream = fake_gpu.Stream(driver.gpu, NON_BLOCKING)
    driver.refuse = step
    with pytest.raises(CudaGraphError, match=f"^{step}: operation failed due to a previous error during capture$"):
        CudaGraph(stream.handle, lambda: None, driver).launch()
    assert stream.captured is None
    assert "graph" not in driver.gpu.living


def test_a_stream_that_waits_for_the_default_one_is_not_recorded(driver: Driver) -> None:
    """A launch by PyTorch, in any thread, would end the recording and fail."""
    stream = fake_gpu.Stream(driver.gpu)
    with pytest.raises(CudaGraphError, match=r"^cuStreamBeginCapture_v2: "):
        CudaGraph(stream.handle, lambda: None, driver)


def test_an_error_in_the_work_ends_the_recording(driver: Driver) -> None:
    stream = fake_gpu.Stream(driver.gpu, NON_BLOCKING)

    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CudaGraph(stream.handle, work, driver)
    assert stream.captured is None
    assert driver.gpu.living == ["stream"]


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(CudaGraphError, match=r"^no CUDA driver: libcuda\.so\.1: "):
        CudaGraph(1, lambda: None)
