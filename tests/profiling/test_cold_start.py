"""Cold starts in real processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fdan_edge.errors import FdanEdgeError
from fdan_edge.profiling.cold_start import ColdStart, cold_start, median_start

MODEL = ("model.onnx", "onnxruntime-cpu")


def test_steps_of_a_real_bundle_add_up(bundle_folder: Path) -> None:
    start = cold_start(str(bundle_folder), *MODEL, threads=1)
    steps = (start.python, start.imports, start.load, start.first)
    assert min(steps) > 0
    assert start.total == pytest.approx(sum(steps))
    assert 10 < start.bare_mib < start.peak_mib < 400


def test_peak_memory_is_that_of_the_fresh_process(bundle_folder: Path) -> None:
    """getrusage's peak of a forked process starts with its parent's."""
    ballast = np.ones(40 * 2**20, np.float64)  # 320 MiB
    assert cold_start(str(bundle_folder), *MODEL).peak_mib * 2**20 < ballast.nbytes / 2


def test_a_process_that_fails_gives_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(FdanEdgeError, match=r"the cold start failed: .*BundleError: .*no such") as e:
        cold_start(str(tmp_path / "none"), *MODEL)
    assert "\n" not in str(e.value)


def test_relative_target_and_package_from_the_current_folder(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle_folder.parent)
    assert cold_start(bundle_folder.name, *MODEL).total > 0


def test_medians_of_several() -> None:
    starts = [ColdStart(*(float(k),) * 7, device_mib=device) for k, device in ((9, None), (1, 5.0), (2, 7.0))]
    assert median_start(starts) == ColdStart(*(2.0,) * 7, device_mib=6.0)
    assert median_start(starts[:1]) == starts[0]
