"""benchmarks/training.py: the authors' recipe computes what we do, and the report says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fdan_edge.config import Config
from fdan_edge.models.fdan import Fdan, Output
from fdan_edge.models.ops.lmmd import lmmd
from fdan_edge.training.objective import Batch, loss_terms
from tests.helpers.training_parts import trainer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import authors_recipe as recipe
import training as script
import training_runs as runs
import training_steps as timing

CLASSES = 7
WORDS = ["backbone=mobilenet_v2", "weights=none", "feature_size=16", "label_smoothing=0", "alpha_ramp=0"]


def features(n: int = 12, d: int = 16) -> tuple[torch.Tensor, ...]:
    chance = torch.Generator().manual_seed(3)
    z = [torch.randn(n, d, generator=chance) + shift for shift in (0.3, 0.0)]
    y = [torch.randint(CLASSES, (n,), generator=chance) for _ in range(2)]
    return *z, *y


def test_one_hot_loop() -> None:
    labels = torch.tensor([2, 0, 6])
    made = recipe.one_hot_loop(labels, CLASSES)
    assert made.tolist() == torch.nn.functional.one_hot(labels, CLASSES).tolist()


def test_alignment_is_lmmd_of_every_layer() -> None:
    z_v, z_a, y_v, y_a = features()
    made = recipe.alignment([(z_v, z_a), (2 * z_v, z_a)], y_v, y_a, CLASSES)
    wanted = lmmd(z_v, z_a, y_v, y_a, CLASSES) + lmmd(2 * z_v, z_a, y_v, y_a, CLASSES)
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-6)


def test_loss_is_ours() -> None:
    """Eq. 9 of the same logits and features."""
    z_v, z_a, y_v, y_a = features()
    logits_v, logits_a = z_v[:, :CLASSES], z_a[:, :CLASSES]
    config = Config.load(None, [*WORDS, f"alpha={recipe.ALPHA}"])
    batch = Batch(torch.zeros(len(y_a), 1), y_a, images=torch.zeros(len(y_v), 1), faces=y_v)
    ours = loss_terms(Output(logits_a, [], logits_v, ((z_v, z_a),)), batch, config, progress=0.5).total
    made = recipe.loss_of((logits_v, logits_a), [(z_v, z_a)], y_v, y_a)
    torch.testing.assert_close(made, ours, rtol=1e-5, atol=1e-6)


def test_network_has_our_layers() -> None:
    """As many weights, but for the two more channels that the voices' stem reads."""
    config = Config.load(None, WORDS)
    network = recipe.Network(config, CLASSES)
    ours = Fdan(config, CLASSES, faces=True, pretrained=False)
    count = [sum(p.numel() for p in model.parameters()) for model in (network, ours)]
    assert count[0] - count[1] == 2 * 3 * 3 * 32


@pytest.fixture
def pictures(tmp_path: Path) -> recipe.Pictures:
    chance = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.fromarray(chance.integers(256, size=(20, 20, 3), dtype=np.uint8)).save(path)
    return recipe.Pictures(paths, [0, 1, 2, 3, 4], recipe.picture, 32)


def test_loaders_begin_anew(pictures: recipe.Pictures) -> None:
    made = list(islice(recipe.steps(pictures, pictures, 2, torch.device("cpu")), 5))
    assert [tuple(t.shape for t in one) for one in made] == [((2, 3, 32, 32), (2, 3, 32, 32), (2,), (2,))] * 5


def test_step_trains_every_weight(pictures: recipe.Pictures) -> None:
    """The attention's too, unlike in the published code."""
    given = next(recipe.steps(pictures, pictures, 4, torch.device("cpu")))
    trained = recipe.Recipe(Config.load(None, WORDS), CLASSES, torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in trained.network.named_parameters()}
    assert 2 < trained.step(given) < 8  # two cross-entropies of 7 classes
    still = [name for name, p in trained.network.named_parameters() if torch.equal(p, before[name])]
    assert still == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what librosa imports
def test_spectrogram_is_a_picture(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "tone.wav"
    soundfile.write(path, np.sin(np.arange(16000) / 5), recipe.SAMPLE_RATE)
    (file,) = recipe.saved([path], tmp_path)
    assert np.array_equal(np.array(recipe.picture(file)), np.array(recipe.spectrogram(path)))
    assert recipe.picture(file).size == (32, 128)  # 1 s in steps of 512 samples, librosa's 128 bands


def row(ms: float) -> dict[str, Any]:
    return {"ms": ms, "samples_per_second": 64000 / ms}


def test_ratios_are_of_medians() -> None:
    rounds = {
        "recipe": [row(400), row(1000), row(500)],
        "memory": [row(300)],
        "ours": [row(100), row(99), row(700)],
        "ceiling": [row(80)],
    }
    made = script.compared(rounds, "cpu")
    assert made["ratios"]["ours"] == pytest.approx(
        {"times_recipe": 5.0, "times_memory": 3.0, "share_of_ceiling": 0.8}
    )
    assert made["targets"] == [{"what": "times_recipe", "least": 2.0, "reached": pytest.approx(5.0), "met": True}]


def test_on_a_gpu_each_of_ours_has_its_own_ceiling() -> None:
    """The best of ours is what is held against the targets; what failed is in none."""
    rounds = {
        "recipe": [row(90)],
        "ours bf16 none": [row(10)],
        "ours fp32 none": [row(30)],
        "ours bf16 default": [{"error": "no compiler"}],
        "ceiling bf16 none": [row(5)],
        "ceiling fp32 none": [row(27)],
    }
    made = script.compared(rounds, "cuda")
    assert made["ratios"]["ours fp32 none"]["share_of_ceiling"] == pytest.approx(0.9)
    assert [target["met"] for target in made["targets"]] == [False, True]
    text = "\n".join(script.table({"steps": {"batch": 32, "backbones": {"vgg8": made}}}))
    assert "no compiler" in text
    assert "times_recipe: 9.00, at least 10 wanted: not met" in text


def test_variants() -> None:
    assert script.variants(["recipe", "ours"], "cpu") == [("recipe", "recipe", []), ("ours", "ours", [])]
    names = [name for name, _, _ in script.variants(["ours", "ceiling"], "cuda")]
    assert {name.replace("ours", "ceiling") for name in names[:4]} == set(names[4:])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what librosa imports
@pytest.mark.parametrize("way", ["memory", "ours", "ceiling"])
def test_ways_run(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a tiny size, on the synthetic corpus."""
    monkeypatch.setattr(timing, "SIZE", 32)
    monkeypatch.setattr(timing, "SHAPE", ("n_mels=32", "hop=1536", "n_fft=2048", "face_size=32"))
    measure = timing.Measure(
        way, "mobilenet_v2", "synthetic:", "synthetic:", steps=3, warm_up=1, batch=2, settings=["cache=false"]
    )
    made = timing.measured(measure)
    assert made["samples_per_second"] == pytest.approx(2 * 2 / made["ms"] * 1000)


def test_our_steps_are_counted(tmp_path: Path) -> None:
    """More steps than an epoch has: several epochs, the last one short."""
    made = trainer(tmp_path, with_faces=False, epochs=9)
    timing.our_step(made, 2 * made.steps + 1)
    assert made.running.exact().steps == 2 * made.steps + 1 == 5
    assert made.done == 0


def test_weights_of_two_runs(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    for folder, value in (("a", 1.0), ("b", 1.0), ("c", 1.0 + 2**-23)):
        (tmp_path / folder).mkdir()
        for name in runs.WEIGHTS:
            save_file({"w": np.full(3, value, np.float32)}, tmp_path / folder / name)
    assert runs.equal_weights(tmp_path / "a", tmp_path / "b")
    assert not runs.equal_weights(tmp_path / "a", tmp_path / "c")


def test_other_sections_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "training.json"
    out.write_text(json.dumps({"resume": {"line": "3 of 3"}}))
    monkeypatch.setattr(runs, "epoch", lambda *_: {"line": "12.0 s"})
    script.main(["--only", "epoch", "--out", str(out)])
    assert json.loads(out.read_text()).keys() == {"resume", "epoch"}
    assert "epoch: 12.0 s" in capsys.readouterr().out


def test_what_a_stopped_run_has_measured_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([row(400), row(100)])

    def until_stopped(_measure: object) -> dict[str, Any]:
        try:
            return next(measured)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(script, "in_a_process", until_stopped)
    out = tmp_path / "training.json"
    out.write_text(json.dumps({"steps": "of before"}))
    with pytest.raises(KeyboardInterrupt):
        script.main(["--only", "steps", "--ways", "recipe", "ours", "ceiling", "--out", str(out)])
    written = json.loads(out.read_text())
    assert written["steps"] == "of before"
    made = written["unfinished steps"]["backbones"]["mobilenet_v2"]
    assert made["ratios"] == {"ours": {"times_recipe": 4.0}}
    assert made["ways"]["ceiling"] == {"error": "not run"}
    monkeypatch.setattr(script, "in_a_process", lambda _: row(100))
    script.main(["--only", "steps", "--ways", "ours", "--out", str(out)])
    written = json.loads(out.read_text())
    assert written.keys() == {"steps"}
    assert "mobilenet_v2" in written["steps"]["backbones"]


def test_what_is_published_is_not_mixed_with_what_may_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_measure: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "HERE", tmp_path)
    monkeypatch.setattr(script, "in_a_process", stopped)
    (tmp_path / "results").mkdir()
    with pytest.raises(KeyboardInterrupt):
        script.main(["--only", "steps"])
    assert not list((tmp_path / "results").iterdir())


def test_a_corpus_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.main(["--speech", "ravdes:/data"])
    assert "argument --speech: unknown corpus 'ravdes'" in capsys.readouterr().err


def test_a_failed_process_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nMemoryError: out\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    measure = timing.Measure("ours", "vgg8", "synthetic:", "synthetic:", 1, 1)
    assert script.in_a_process(measure) == {"error": "MemoryError: out"}
