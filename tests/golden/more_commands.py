"""Help, mistakes, and what is slow and seldom."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence

from tests.golden.recorder import (
    BENCHED,
    BUNDLE,
    EPOCH,
    ONCE,
    SAME,
    SHARED,
    TABLE,
    TRAINED,
    VERBS,
    Recorder,
    settings_of,
)


def words(to: Recorder) -> None:
    """Help, version, what works here, and what is said to mistakes."""
    for verb in VERBS:
        to.run(f"help-{verb.replace(' ', '-') or 'all'}", *verb.split(), "--help")
    to.run("version", "--version")
    to.run("doctor", "doctor", "--json", hide=("detail",))
    (to.work / "cut").mkdir()
    shutil.copytree(to.work / "bundles" / "fdan", to.work / "cut" / "bundle")
    model = to.work / "cut" / "bundle" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1000])
    (to.work / "text.onnx").write_text("hello")
    for name, arguments in _mistakes().items():
        to.run(f"mistake-{name}", *arguments)


def _mistakes() -> dict[str, Sequence[str]]:
    """Those that are found before PyTorch is imported, which takes seconds, and one that is not."""
    bundle = "bundles/fdan"
    return {
        "no-verb": ("trian",),
        "no-option": ("infer", bundle, "voices", "--jsn"),
        "no-out": ("train",),
        "unknown-corpus": ("data", "scan", "ravdes:x"),
        "no-corpus": ("data", "scan", "/data/ravdess"),
        "no-folder": ("data", "scan", "emodb:none"),
        "empty-folder": ("data", "scan", "emodb:voices"),
        "unknown-setting": ("train", "--out", "r", "--speech", "emodb:far", *settings_of("epohcs=2")),
        "no-bundle": ("infer", "none", "voices"),
        "not-a-bundle": ("infer", "voices", "voices"),
        "cut-bundle": ("infer", "cut/bundle", "voices"),
        "not-onnx": ("infer", "text.onnx", "voices"),
        "no-file": ("infer", bundle, "none.wav"),
        "unknown-precision": ("infer", bundle, "voices", "--precision", "fp8"),
        "unknown-runtime": ("bench", bundle, "--runtime", "onnx"),
        "no-such-runtime-here": ("infer", bundle, "voices", "--runtime", "onnxruntime-cuda"),
        "unknown-card": ("bench", bundle, "--estimate", "gtx"),
        "unknown-part": ("evaluate", bundle, "--speech", "synthetic:", "--part", "tset"),
        "two-sources": ("stream", bundle, "talk.flac", "--mic"),
        "unknown-vad": ("stream", bundle, "talk.flac", "--vad", "loud"),
        "no-runs": ("runs", "nowhere"),
        "unknown-order": ("runs", "runs", "--sort", "test"),
        "half-a-certificate": ("serve", bundle, "--port", "0", "--certificate", "none.pem"),
    }


def _slow_mistakes() -> dict[str, Sequence[str]]:
    few = ("--speech", "folder:few/labels.csv")
    return {
        "no-run": ("export", "runs/none", "--out", "b"),
        "no-speech": ("train", "--out", "r"),
        "wrong-value": ("train", "--out", "r", *few, *settings_of("epochs=two")),
        "wrong-toml": ("train", "wrong.toml", "--out", "r", *few),
        "out-is-taken": ("train", "--out", "runs/plain", *few, *settings_of("backbone=vgg8")),
        "method-needs-target": ("train", "--out", "r", *few, "--method", "didan"),
        "unknown-target": ("export", "runs/fdan", "--target", "rpi", "--out", "b"),
        "out-is-no-bundle": ("export", "runs/fdan", "--out", "voices"),
        "tsne-of-a-bundle": ("evaluate", "bundles/fdan", *few, "--tsne", "--pictures", "p"),
        "trained-on": ("evaluate", "bundles/fdan/model.onnx", *few),
        "unknown-table": ("reproduce", "table5", *few),
        "unknown-space": ("tune", "--out", "t", *few, "--space", "lrr=1..2"),
        "folds-protocol": ("crossval", "--out", "c", *few, *settings_of("protocol=random")),
    }


def more(to: Recorder) -> None:
    """What is slow and seldom: other networks, methods, targets and runtimes, and a training that was killed."""
    few, alone, small = ("--speech", "folder:few/labels.csv"), ("--threads", "1"), settings_of(*TRAINED, *ONCE)
    drawn = ("--pictures", "pictures", "--tsne", "--part", "val", "--threads", "1")
    to.run("evaluate-run", "evaluate", "runs/fdan", "--speech", "synthetic:", *drawn, "--json")
    to.files("evaluate-run", "pictures", ["*.png"])
    to.run("resume-finished", "train", "--resume", "--out", "runs/didan", "--json")
    killed(to, few)
    whisper = settings_of(
        *SAME, "backbone=whisper_tiny", "frozen_stages=3", "masks=0", "window_seconds=1.0", *ONCE
    )
    hop = settings_of("window_hop_seconds=0.5")
    to.run("train-whisper", "train", *few, *whisper, *hop, "--out", "runs/whisper", "--json")
    to.run_folder("train-whisper", "runs/whisper")
    resnet = settings_of(
        "backbone=resnet18", "weights=none", "face_backbone=vgg8", "balanced=true", "optimizer=sgd"
    )
    faces = ("--faces", "fer2013:fer")
    to.run("train-resnet", "train", *few, *faces, *small, *resnet, "--out", "runs/resnet", "--json")
    to.run_folder("train-resnet", "runs/resnet")
    tasks = ("didan", *few, "--speech", "emodb:far", *faces, "--backbone", "vgg8", "--out", "methods")
    names = "source,joint,mmd,lmmd,coral,dann,didan,didan_layers,bridge,didan_faces"
    methods = ("--rows", names, "--seeds", "7", "--lambdas", "1")
    rows = settings_of(*(setting for setting in (*TRAINED, *ONCE) if not setting.startswith("seed=")))
    to.run("reproduce-methods", "reproduce", *tasks, *methods, *rows, "--json", hide=TABLE)
    to.files("reproduce-methods", "methods", ["*.md", "*/checkpoint.safetensors"])
    student = (
        "--student",
        "vgg8",
        *settings_of("n_mels=32", "hop=512", "feature_size=16", "epochs=1", "precision=fp32"),
    )
    to.run("export-student", "export", "runs/plain", *student, "--out", "bundles/student", "--json", hide=BUNDLE)
    to.run_folder("export-student-run", "bundles/student-student")
    targets = ("--target", "cuda", "--target", "jetson-jp6", "--precision", "fp16", "--precision", "int8")
    to.run("export-targets", "export", "runs/fdan", *targets, "--out", "bundles/targets", "--json", hide=BUNDLE)
    to.bundle("export-targets", "bundles/targets")
    to.run("infer-run", "infer", "runs/plain", "voices", *alone, "--json")
    everything = ("--speech", "emodb:far", "--part", "all", *alone)
    to.run("evaluate-text", "evaluate", "bundles/fdan/model.int8-u8s8.onnx", *everything)
    pair = ("--runs", "5", "--starts", "0", "--precision", "fp32", "--vs", "runs/fdan", *alone)
    to.run("bench-vs", "bench", "bundles/fdan", *pair, "--json", hide=BENCHED, numbers=True)
    part = ("--vad", "energy", "--seconds", "3", "--json")
    to.run("stream-run", "stream", "runs/didan", "talk.flac", *part, hide=("latency",))
    (to.work / "wrong.toml").write_text("epochs = 2\nlearning_rate = 3\n")
    for name, arguments in _slow_mistakes().items():
        to.run(f"mistake-{name}", *arguments)
    films = sorted(SHARED.glob("javased/video/*.mp4"))[:2]
    if films:
        (to.work / "films" / "neutral").mkdir(parents=True)
        for path in films:
            shutil.copy(path, to.work / "films" / "neutral")
        to.run("scan-films", "data", "scan", "folder:films", "--json")
        to.run("infer-film", "infer", "bundles/fdan", f"films/neutral/{films[0].name}", *alone, "--json")


def killed(to: Recorder, speech: Sequence[str]) -> None:
    """A training that is killed after an epoch and goes on ends as one that was left alone."""
    settings = settings_of(*TRAINED, "backbone=vgg8", "epochs=6", "speed_perturbation=0")
    folder = to.work / "runs" / "killed"
    process = to.start("train", *speech, *settings, "--out", "runs/killed", stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not (folder / "epochs.jsonl").exists():
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    to.run("resume-killed", "train", "--resume", "--out", "runs/killed", "--json", errors=False)
    to.files("resume-killed", "runs/killed", ["*.safetensors", "epochs.jsonl"], hide=EPOCH)
