"""Engines are built from ONNX files, for what they are to run on, and kept where they were built."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest

from fdan_edge.errors import ExportError, MissingDependencyError
from fdan_edge.runtime.deploy_targets import find_target
from fdan_edge.runtime.tensorrt import compatibility, engines
from fdan_edge.runtime.tensorrt.batches import PROFILES, Profile
from fdan_edge.runtime.tensorrt.build_progress import BuildProgress
from fdan_edge.runtime.tensorrt.compatibility import PORTABLE, Gpu, Machine, misfit
from fdan_edge.runtime.tensorrt.engines import (
    TURING,
    build,
    build_cached,
    build_for,
    cached,
    cached_path,
    engine_name,
    fingerprint_for,
)
from fdan_edge.utils.files import sha256
from tests.helpers.tiny_models import model

ORIN = Machine("trt", "10.3.0", Gpu("8.7", "12.6", 2 << 30), "linux-aarch64")
ADA = Machine("rtx", "1.7.1", Gpu("8.9", "13.0", 24 << 30), "linux-x86_64")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return model(tmp_path / "m.onnx")


def test_names() -> None:
    assert engine_name("model.onnx", "trt", "8.7") == "model.trt.engine"
    assert engine_name("model.fp16.onnx", "rtx") == "model.fp16.rtx.engine"
    assert engine_name("model.fp16.onnx", "rtx", TURING) == "model.fp16.rtx-sm75.engine"


@pytest.mark.rtx
def test_engines_for_rtx_cards(onnx_file: Path) -> None:
    made, missing = build_for(find_target("rtx"), onnx_file, "fp32")
    assert missing == []
    assert [engine.path.name for engine in made] == ["m.rtx.engine", "m.rtx-sm75.engine"]
    assert [engine.fingerprint.compute_capability for engine in made] == [PORTABLE, TURING]
    assert made[0].path.read_bytes() != made[1].path.read_bytes()
    assert misfit(made[0].fingerprint, replace(ADA, version=made[0].fingerprint.version)) is None
    for engine in made:
        assert engine.fingerprint.onnx_sha256 == sha256(onnx_file)
        listed = engine.listed("m.onnx", "rtx")
        assert (listed.file, listed.fingerprint) == (engine.path.name, engine.fingerprint)
        assert (listed.batch, listed.profiles) == ((1, 1, 16), PROFILES)


@pytest.mark.rtx
def test_tensorrt_takes_every_profile(onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels for each: the engine is larger than with one. Only a GPU can load it and say more."""
    sizes = []
    for profiles in (PROFILES, PROFILES[:1]):
        monkeypatch.setattr(engines, "PROFILES", profiles)
        sizes.append(build(onnx_file, "rtx", "fp32", out=tmp_path / "e").path.stat().st_size)
    assert sizes[0] > sizes[1]


@pytest.mark.rtx
def test_a_graph_that_turing_does_not_take(tmp_path: Path, bundle_folder: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((bundle_folder / "model.onnx").read_bytes())
    made, missing = build_for(find_target("rtx"), path, "fp32")
    assert [engine.path.name for engine in made] == ["model.rtx.engine"]
    (line,) = missing
    assert line.startswith("no engine for Turing (compute capability 7.5): TensorRT for RTX ")
    assert line.endswith("for Turing (SM75): FP32 GEMM is not supported")
    assert "\n" not in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "model.rtx.engine"]


@pytest.mark.rtx
@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "other graph"])
def test_files_that_cannot_be_built(onnx_file: Path, tmp_path: Path, damage: str) -> None:
    whole = onnx_file.read_bytes()
    node = onnx.helper.make_node("STFT", ["x", "y"], ["z"])
    x, y, z = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in "xyz")
    other = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x, y], [z])).SerializeToString()
    content = {"garbage": b"\x00\x01garbage" * 99, "truncated": whole[:50], "empty": b"", "other graph": other}
    onnx_file.write_bytes(content[damage])
    with pytest.raises(ExportError, match="TensorRT for RTX") as caught:
        build(onnx_file, "rtx", "fp32")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


_GARBAGE = """
import gc, sys
from pathlib import Path
from fdan_edge.runtime.tensorrt import engines
from fdan_edge.errors import ExportError

path, bad = Path(sys.argv[1]), Path(sys.argv[2])
make_logger = engines.make_logger

said = []

def eager(tensorrt, messages):
    class Logger(type(make_logger(tensorrt, messages))):
        def log(self, severity, message):
            said.append(gc.isenabled())
            gc.collect()  # it may run anywhere, hence also here
    return Logger()

gc.set_threshold(1_000_000)
gc.freeze()  # what was imported need not be looked at each time
engines.make_logger = eager
for _ in range(3):
    try:
        engines.build(bad, "rtx", "fp32")
    except ExportError as error:
        cycle = [error]  # its traceback holds a builder, which only the collector can free now
        cycle.append(cycle)
        del cycle
    engines.build(path, "rtx", "fp32")
assert said and all(said)  # nobody else's garbage waits for a build
"""


@pytest.mark.rtx
def test_a_failed_build_that_is_collected_in_the_next_one(onnx_file: Path, tmp_path: Path) -> None:
    """It hung for ever: TensorRT held a lock while Python freed the older builder inside its logger."""
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", _GARBAGE, onnx_file, bad], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.rtx
def test_the_build_shows_what_it_does_and_ctrl_c_ends_it(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str | None, int]] = []
    begin, end = BuildProgress.begin, BuildProgress.end
    ended: list[str] = []

    def noted(self: BuildProgress, phase: str, inside: str | None, count: int) -> None:
        seen.append((phase, inside, count))
        begin(self, phase, inside, count)

    def noted_end(self: BuildProgress, phase: str) -> None:
        ended.append(phase)
        end(self, phase)

    monkeypatch.setattr(BuildProgress, "begin", noted)
    monkeypatch.setattr(BuildProgress, "end", noted_end)
    build(onnx_file, "rtx", "fp32", out=tmp_path / "one.engine")
    assert seen[0][1] is None  # the outermost phase
    assert all(count > 0 for _, _, count in seen)
    assert {inside for _, inside, _ in seen[1:]} <= {phase for phase, _, _ in seen}
    assert sorted(ended) == sorted(phase for phase, _, _ in seen)
    count = sum(steps for _, _, steps in seen)

    step = BuildProgress.step
    steps: list[tuple[str, int]] = []
    before = signal.getsignal(signal.SIGINT)

    def pressed(self: BuildProgress, phase: str, index: int) -> bool:
        if not steps:
            signal.raise_signal(signal.SIGINT)
        steps.append((phase, index))
        return step(self, phase, index)

    monkeypatch.setattr(BuildProgress, "step", pressed)
    with pytest.raises(KeyboardInterrupt):
        build(onnx_file, "rtx", "fp32", out=tmp_path / "two.engine")
    assert len(steps) < count
    assert not (tmp_path / "two.engine").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_neither_flavour_is_installed(monkeypatch: pytest.MonkeyPatch, onnx_file: Path) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"needs TensorRT, .* pip install tensorrt-rtx-cu13"):
        engines.find_tensorrt()
    with pytest.raises(MissingDependencyError, match="needs TensorRT for RTX, "):
        build_for(find_target("rtx"), onnx_file, "fp16")


@pytest.mark.parametrize("name", ["jetson-jp6", "jetson-jp7", "cuda"])
def test_classic_engines_are_left_to_the_device(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(engines, "this_machine", lambda flavour: replace(ORIN, flavour=flavour, gpu=None))
    made, (line,) = build_for(find_target(name), onnx_file, "fp16")
    assert made == []
    assert line == "no engine: TensorRT builds it on the device, where --rebuild does"


class Classic(ModuleType):
    """A classic `tensorrt` whose engines are what it was asked for, as JSON."""

    __version__ = "10.3.0"

    def __init__(self) -> None:
        super().__init__("tensorrt")
        self.__spec__ = ModuleSpec("tensorrt", None)
        self.timed: list[bytes] = []
        self.ILogger = type("ILogger", (), {"ERROR": 1, "INTERNAL_ERROR": 0})
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.BuilderFlag = SimpleNamespace(TF32="TF32")
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
        self.OnnxParser = lambda _network, _logger: SimpleNamespace(parse=lambda content: bool(content))
        self.Builder = lambda _logger: self
        self.IProgressMonitor = type("IProgressMonitor", (), {})
        self.asked: dict[str, Any] = {}

    def create_network(self, flags: int) -> Any:
        self.asked = {"flags": flags}
        taken = SimpleNamespace(name="waveform", shape=(-1, 4))
        return SimpleNamespace(num_inputs=1, get_input=lambda _index: taken)

    def create_builder_config(self) -> Any:
        asked = self.asked
        cache = SimpleNamespace(serialize=lambda: b"measured")

        def timing(content: bytes) -> Any:
            if content == b"damaged":
                return None
            self.timed.append(content)
            return cache

        return SimpleNamespace(
            clear_flag=lambda flag: asked.update(cleared=flag),
            set_memory_pool_limit=lambda _pool, size: asked.update(workspace=size),
            add_optimization_profile=lambda profile: asked.setdefault("waveform", []).append(profile.shapes),
            create_timing_cache=timing,
            set_timing_cache=lambda _cache, _ignore: True,
            get_timing_cache=lambda: cache,
        )

    def create_optimization_profile(self) -> Any:
        profile = SimpleNamespace()
        profile.set_shape = lambda name, *shapes: setattr(profile, "shapes", shapes if name == "waveform" else ())
        return profile

    def build_serialized_network(self, _network: Any, _config: Any) -> bytes:
        return json.dumps(self.asked).encode()


@pytest.fixture
def classic(monkeypatch: pytest.MonkeyPatch) -> Classic:
    module = Classic()
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(engines, "this_machine", lambda _flavour: ORIN)
    monkeypatch.setattr(compatibility, "find_gpu", lambda: ORIN.gpu)
    monkeypatch.setattr(engines, "system", lambda: ORIN.system)
    return module


def test_classic_engines_are_built_on_the_device(onnx_file: Path, classic: Classic) -> None:
    (made,), missing = build_for(find_target("jetson-jp6"), onnx_file, "fp16")
    assert (made.path.name, missing) == ("m.trt.engine", [])
    assert json.loads(made.path.read_bytes()) == {
        "flags": 2,  # strongly typed
        "cleared": "TF32",
        "workspace": 1 << 29,  # a quarter of what there is
        "waveform": [[[1, 4], [1, 4], [1, 4]], [[2, 4], [4, 4], [4, 4]], [[5, 4], [16, 4], [16, 4]]],
    }
    assert misfit(made.fingerprint, ORIN) is None
    assert made.fingerprint.driver == "12.6"
    assert classic.timed == [b""]


def test_a_card_that_the_target_is_not_for(onnx_file: Path, classic: Classic) -> None:  # noqa: ARG001
    assert ORIN.gpu is not None
    assert build_for(find_target("cuda"), onnx_file, "fp16")[0] == []  # an Orin is no such card


def test_what_was_timed_is_kept_for_the_next_build(onnx_file: Path, classic: Classic) -> None:
    build(onnx_file, "trt", "fp16", "8.7")
    build(onnx_file, "trt", "fp16", "8.7")
    assert classic.timed == [b"", b"measured"]
    (file,) = engines.folder().glob("*.timing")
    file.write_bytes(b"damaged")
    build(onnx_file, "trt", "fp16", "8.7")
    assert classic.timed == [b"", b"measured", b""]
    assert file.read_bytes() == b"measured"


def test_a_rebuilt_engine_is_kept_and_built_once(
    onnx_file: Path, classic: Classic, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, made = build_cached(onnx_file, ORIN, "fp16")
    assert made.path.parent == engines.folder()
    assert made.path.read_bytes() == content
    assert made.fingerprint == fingerprint_for(ORIN, "fp16", sha256(onnx_file))
    assert misfit(made.fingerprint, ORIN) is None
    monkeypatch.setattr(classic, "build_serialized_network", None)  # would fail
    assert build_cached(onnx_file, ORIN, "fp16") == (content, made)
    assert ORIN.gpu is not None
    newer = replace(ORIN, gpu=replace(ORIN.gpu, driver="13.2"))
    assert build_cached(onnx_file, newer, "fp16")[0] == content  # engines outlive drivers


def test_a_kept_engine_with_other_profiles_is_run_until_a_new_one_is_asked_for(
    onnx_file: Path, classic: Classic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update takes no minutes where nobody asked for them."""
    monkeypatch.setattr(engines, "PROFILES", (Profile(1, 1, 16),))
    old, made = build_cached(onnx_file, ORIN, "fp16")
    entry = json.loads(made.path.with_suffix(".json").read_bytes())
    del entry["profiles"]  # as before there were several
    made.path.with_suffix(".json").write_text(json.dumps(entry))
    monkeypatch.undo()
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(made.path.parents[1]))
    monkeypatch.setitem(sys.modules, "tensorrt", classic)
    monkeypatch.setattr(compatibility, "find_gpu", lambda: ORIN.gpu)
    assert build_cached(onnx_file, ORIN, "fp16")[0] == old
    new, _ = build_cached(onnx_file, ORIN, "fp16", rebuild=True)
    assert [profile[2][0] for profile in json.loads(new)["waveform"]] == [1, 4, 16]
    timed = len(classic.timed)
    for rebuild in (True, False):
        assert build_cached(onnx_file, ORIN, "fp16", rebuild=rebuild)[0] == new
    assert len(classic.timed) == timed


@pytest.mark.parametrize("damage", ["changed", "no list", "list cut short", "of another", "no engine"])
def test_a_kept_engine_that_is_not_what_was_built_is_built_anew(
    onnx_file: Path,
    classic: Classic,  # noqa: ARG001
    damage: str,
) -> None:
    content, made = build_cached(onnx_file, ORIN, "fp16")
    entry = made.path.with_suffix(".json")
    if damage == "changed":
        made.path.write_bytes(content[:-1] + b"!")
    elif damage == "no engine":
        made.path.unlink()
    elif damage == "no list":
        entry.unlink()
    elif damage == "list cut short":
        entry.write_bytes(entry.read_bytes()[:-20])
    else:
        values = json.loads(entry.read_text())
        values["fingerprint"]["version"] = "10.7.0"
        entry.write_text(json.dumps(values))
    assert cached(made.fingerprint) is None
    assert build_cached(onnx_file, ORIN, "fp16")[0] == content
    assert cached(made.fingerprint) == content


def test_an_engine_that_cannot_be_kept_serves_this_process(
    onnx_file: Path,
    classic: Classic,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content, made = build_cached(onnx_file, ORIN, "fp16")
    (tmp_path / "file").touch()
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path / "file"))  # as read-only: root may write anywhere else
    capsys.readouterr()
    again, nowhere = build_cached(onnx_file, ORIN, "fp16")
    assert (again, nowhere.fingerprint, nowhere.path.exists()) == (content, made.fingerprint, False)
    assert classic.timed[-1] == b""
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"{tmp_path / 'file' / 'engines'}: engines cannot be kept: Not a directory; built again next time"
    ]


def test_another_model_or_version_has_another_place(onnx_file: Path) -> None:
    made = fingerprint_for(ORIN, "fp16", sha256(onnx_file))
    others = [
        fingerprint_for(replace(ORIN, version="10.7.0"), "fp16", sha256(onnx_file)),
        fingerprint_for(ORIN, "fp16", "1" * 64),
        fingerprint_for(replace(ORIN, flavour="rtx"), "fp16", sha256(onnx_file)),
    ]
    assert len({cached_path(one) for one in (made, *others)}) == 4


def test_what_is_wanted_for_a_card() -> None:
    assert ADA.gpu is not None
    assert fingerprint_for(ADA, "fp16", "0" * 64).compute_capability == PORTABLE
    turing = replace(ADA, gpu=replace(ADA.gpu, compute_capability="7.5"))
    assert fingerprint_for(turing, "fp16", "0" * 64).compute_capability == TURING
    assert fingerprint_for(ORIN, "fp16", "0" * 64).compute_capability == "8.7"


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert engines.folder() == tmp_path / "cache" / "engines"
    monkeypatch.delenv("FDAN_EDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engines.folder() == tmp_path / "fdan-edge" / "engines"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("plain", "plain"),
        ("two\nlines", "two"),
        (
            "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check] Cannot compile it: no "
            "FP32. In compileGraph at /_src/optimizer/codeGenerator.cpp:2012)",
            "Cannot compile it: no FP32",
        ),
        (
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion failed.)",
            "Serialization (Serialization assertion failed.)",
        ),
    ],
)
def test_the_reason_in_what_tensorrt_logs(message: str, words: str) -> None:
    assert engines.last_words(["earlier", message]) == words
    assert engines.last_words([]) == "no reason given"
