"""Run the commands and Python blocks of a page in a temporary folder, in this process where that is possible."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fdan_edge import cli
from fdan_edge.config import Config
from tests.docs.corpora import Corpora, write_voice
from tests.docs.pages import Block
from tests.docs.parsing import check, programs
from tests.helpers.exported import KeptGraphs

#: Programs that a page may run. Others need a comment that says why they are not run.
ALLOWED = ("fdan-edge", "python", "cat", "cp", "head", "ls", "mkdir", "mv", "rm", "tail")

#: Settings that every training of a page gets, whatever it says: they make it short.
_SHORT = {
    "epochs": "1",
    "batch_size": "8",
    "face_batch_size": "6",
    "face_size": "32",
    "window_seconds": "1.0",
    "window_hop_seconds": "0.5",
}
#: Settings that a training gets where the page does not set them.
_SMALL = {"feature_size": "16", "speed_perturbation": "0", "surroundings": "0"}
_SMALL_IMAGES = {"weights": "none", "n_mels": "32", "hop": "512"}
#: The network of all trainings but those of `whisper_tiny` and of frozen stages: others take longer to export.
_BACKBONE = "vgg8"
_TRAINS = ("train", "crossval", "tune", "reproduce")
_AUDIO = (".wav", ".flac", ".mp3", ".ogg")
_WRITES = ("--out", "--triton", "--pictures", "--rttm", "--csv", "--audacity", "--markdown", "--embeddings")


class Models:
    """What trainings and exports left: pages that give the same command share them.

    Args:
        folder: where they are kept.
        run, bundle: a run folder that pages take for granted, and its bundle.
    """

    def __init__(self, folder: Path, run: Path, bundle: Path) -> None:
        self._folder, self._kept = folder, {"run": run, "bundle": bundle}
        self.graph = KeptGraphs()
        self.graph.add(run, bundle)

    def run(self, folder: Path) -> str:
        """Copy a run that a page takes for granted; gives the key that it is kept under."""
        self.copy("run", folder)
        return "run"

    def bundle(self, folder: Path) -> None:
        """Copy the bundle of that run."""
        self.copy("bundle", folder)

    def keep(self, key: str, folder: Path) -> None:
        """Keep a copy of a folder."""
        self._kept[key] = shutil.copytree(folder, self._folder / str(len(self._kept)))

    def copy(self, key: str, folder: Path) -> bool:
        """Copy what is kept; False where there is nothing."""
        if key not in self._kept:
            return False
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._kept[key], folder)
        return True


@dataclass
class Sandbox:
    """What the blocks of one page share."""

    folder: Path  # the current folder
    corpora: Corpora
    models: Models
    origins: dict[str, str] = field(default_factory=dict)  # of a run or bundle: what it was made by
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def run(self, block: Block) -> None:
        """Run a block, or write the file that it shows.

        Raises:
            AssertionError: a command fails, or is of a program that pages may not run.
        """
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.corpora.translate(block.text) + "\n", encoding="utf-8")
        elif block.language == "python":
            text = self.corpora.translate(block.text)
            self._provide([word.strip("\"'") for word in text.replace("(", " ").replace(")", " ").split()])
            exec(compile(text, block.where, "exec"), self.namespace)
        elif block.language == "console":
            for command in block.commands:
                self.command(command, block.where)

    def command(self, command: str, where: str) -> None:
        """Run one command line; it must end with exit code 0."""
        check(command)
        command = self.corpora.translate(command)
        parts = list(programs(command))
        for words in parts:
            assert words[0] in ALLOWED, f"{where}: {words[0]}: not run here; say why: <!-- not run: reason -->"
            self._provide(words[1:])
        if len(parts) > 1 or ">" in command or "<" in command:
            code = self._shell(command)
        elif parts[0][0] == "fdan-edge":
            code = self._fdan_edge(parts[0][1:])
        else:
            code = self._shell(command)
        # A training that was made short may be no better than chance, which is exit code 1.
        right = code == 0 or (code == 1 and parts[0][:2] == ["fdan-edge", "train"])
        assert right, f"{where}: exit code {code} of: {command}"

    def _fdan_edge(self, words: list[str]) -> int:
        if words[0] == "serve":
            return _serve(words)
        words = self._short(words)
        key, out = self._origin(words), words[words.index("--out") + 1] if "--out" in words else ""
        if key and self.models.copy(key, self.folder / out):
            code = 0
        else:
            code = _main(words)
            if key and code in (0, 1):
                self.models.keep(key, self.folder / out)
        if out:
            self.origins[out] = key
        return code

    def _origin(self, words: list[str]) -> str:
        """The command with every run in it replaced by its own; "" where something else decides, too."""
        if words[0] not in ("train", "export") or {"--resume", "--triton", "--student"} & {*words}:
            return ""
        key = []
        for before, word in zip(["", *words], words, strict=False):
            if before == "--out":
                continue
            if "runs/" in word or word.endswith(".toml"):
                if not self.origins.get(word):
                    return ""
                word = f"({self.origins[word]})"
            key.append(word)
        return " ".join(key)

    def _short(self, words: list[str]) -> list[str]:
        """The words with settings that make a training short, and an export that nothing refuses."""
        if words[0] == "export" and "int8" in words:
            return [*words, "--force"]
        if words[0] not in _TRAINS or "--resume" in words:
            return words
        if _is_head(words):
            short = (f"window_seconds={_SHORT['window_seconds']}", "window_hop_seconds=0.5", "surroundings=0")
            head = ("recipe=head", *short)
            return [*words, *(part for setting in head for part in ("--set", setting))]
        told = " ".join(words)
        for word in words:
            if word.endswith(".toml"):
                told += (self.folder / word).read_text(encoding="utf-8").replace(" = ", "=")
        settings = dict(_SHORT)
        small = _SMALL if "whisper_tiny" in told else {**_SMALL, **_SMALL_IMAGES}
        settings |= {name: value for name, value in small.items() if f"{name}=" not in told}
        more = []
        if not any(word in told for word in ("whisper_tiny", "frozen_", "vgg8")):
            more += ["--backbone", _BACKBONE] if words[0] == "reproduce" else ["--set", f"backbone={_BACKBONE}"]
        if words[0] == "crossval" and "loso" not in told:
            settings["folds"] = "2"
        if words[0] == "tune":
            more += ["--folds", "1", "--trials", "1"]
        return [*words, *more, *(part for item in settings.items() for part in ("--set", "=".join(item)))]

    def _shell(self, command: str) -> int:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        return subprocess.run(["bash", "-o", "pipefail", "-c", command], env=environment, check=False).returncode

    def _provide(self, words: list[str]) -> None:
        """Make the recordings, runs and bundles that are named and not there."""
        for before, word in zip(["", *words], words, strict=False):
            path = self.folder / word
            if before in _WRITES or word.startswith("-") or not word or path.exists():
                continue
            if path.suffix in _AUDIO:
                write_voice(path, "happy")
            elif word.rstrip("/").endswith("recordings"):
                for index, emotion in enumerate(("happy", "sad")):
                    write_voice(path / f"{index}.wav", emotion)
            elif word.startswith("runs/") and path.parent == self.folder / "runs":
                self.origins[word] = self.models.run(path)
            elif word == "bundle" or word.startswith("bundles/"):
                self.models.bundle(path)


def _is_head(words: list[str]) -> bool:
    """Tell whether a training is that of a head."""
    asks = {"--set", "--faces", "--adapt-to", "--target", "--method"} & {*words}
    return words[0] == "train" and not asks and not any(word.endswith(".toml") for word in words)


def short(config: Config) -> Config:
    """The settings with those that make a training short."""
    images = {} if config.backbone == "whisper_tiny" else {**_SMALL_IMAGES, "backbone": _BACKBONE}
    words = [f"{name}={value}" for name, value in {**_SMALL, **images, **_SHORT}.items()]
    names = [word.partition("=")[0] for word in words]
    given = Config.load(None, words)
    return dataclasses.replace(config, **{name: getattr(given, name) for name in names})


def _main(words: list[str]) -> int:
    try:
        cli.main(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _serve(words: list[str]) -> int:
    """Start the server in a process of its own, wait until it answers, and stop it as Ctrl-C does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fdan_edge", *words, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5),
            ):
                process.send_signal(signal.SIGINT)
                return process.wait(60)
            time.sleep(0.1)
        return process.poll() or 1
    finally:
        process.kill()
        process.wait()
