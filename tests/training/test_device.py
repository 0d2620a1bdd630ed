"""What a training computes on: threads, number format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fdan_edge.config import Config
from fdan_edge.training import device, distributed

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("text", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("400000 100000", 4)])
def test_a_container_s_limit_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cores: int
) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert device.container_cores(tmp_path / "cpu.max") == cores
    monkeypatch.setattr(device, "container_cores", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert device.default_threads() == cores


@pytest.mark.parametrize("text", ["max 100000", "", "?"])
def test_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert device.container_cores(tmp_path / "cpu.max") == 7


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "container_cores", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as torchrun has it
    assert device.default_threads() == 2


def test_threads_are_those_that_are_asked_for() -> None:
    device.prepare_device(Config.load(None, ["threads=1"]))
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"avx2": True}, torch.float32),
    ],
    ids=str,
)
def test_bf16_is_chosen_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, bool], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: there, raising=False)
    assert device.number_format(Config.load(None, []), CPU) == expected
    assert device.number_format(Config.load(None, ["precision=fp32"]), CPU) == torch.float32
    assert device.number_format(Config.load(None, ["precision=fp16"]), CPU) == torch.float16
    assert device.precision_name(Config.load(None, []), CPU) == ("bf16" if expected == torch.bfloat16 else "fp32")
    assert device.precision_name(Config.load(None, ["precision=fp16"]), CPU) == "fp16"


def test_the_device_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert device.device_name(CPU) == "the CPU, 1 thread"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA X")
    assert device.device_name(torch.device("cuda", 0)) == "NVIDIA X"
