"""Small trees in the publishers' layouts, and one tiny trained run and its bundle for all tests."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fdan_edge.utils import messages

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TINY = (
    "backbone=vgg8",  # the quickest to export
    "weights=none",
    "epochs=2",
    "batch_size=8",
    "face_batch_size=6",
    "n_mels=32",
    "hop=512",
    "window_seconds=1.0",
    "window_hop_seconds=0.5",
    "face_size=32",
    "feature_size=16",
    "speed_perturbation=0",
    "surroundings=0",
    "threads=1",  # whatever number an earlier test has left
)


def pytest_configure() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C, and so would be all processes of the tests."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine does not have; processes that share the tests begin with the longest files."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])
    from importlib.util import find_spec

    reasons = {"corpora": "" if SHARED.is_dir() else "no ../shared/data"}
    reasons["rtx"] = "" if find_spec("tensorrt_rtx") else "TensorRT for RTX is not installed"
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA GPU"))


def pytest_collection_finish() -> None:
    """What was imported stays, so the garbage collector need not look at it: exports take a fifth less."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def feature_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Features are kept here for all tests, not in the home of who runs them."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDAN_EDGE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def no_rests() -> Iterator[None]:
    """No test asks how fast something is, so that no timing waits until another's threads have gone to sleep."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("profiling.bench", "export.speed"):
            with suppress(ImportError):  # not all of the package is everywhere
                patch.setattr(f"fdan_edge.{module}._REST", 0.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def empty_pictures() -> Iterator[Callable[..., None] | None]:
    """Make pictures empty files, and give what draws them: that takes most of the time of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            yield None
            return
        drawn = Figure.savefig
        patch.setattr(Figure, "savefig", lambda _, path, **__: Path(path).touch())
        yield drawn


@pytest.fixture
def drawn(empty_pictures: Callable[..., None] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pictures be drawn."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", empty_pictures)


@pytest.fixture(autouse=True)
def messages_on_stderr() -> Iterator[None]:
    """Messages are printed as the command line prints them, so that tests read them there; caplog has them too."""
    with messages.shown():
        logging.getLogger(messages.ROOT).propagate = True
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where trees, run and bundle lie, for all processes of the tests together.

    FDAN_EDGE_TEST_FOLDER names one to keep, whose contents are used as they are: so a machine that cannot train
    tests the bundle that another one made.
    """
    if kept := os.environ.get("FDAN_EDGE_TEST_FOLDER"):
        return Path(kept)
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "shared"


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Let the first process that asks make a folder; the others wait for it.

    Args:
        folder: is there in the end, complete.
        make: writes it, at the path that it is given.
    """
    if folder.exists():
        return folder
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def ravdess_tree(shared_folder: Path) -> Path:
    """4 actors x 8 emotions of synthetic voices under RAVDESS's names."""
    return make_once(shared_folder / "ravdess", _write_ravdess)


def _write_ravdess(root: Path) -> None:
    import soundfile

    from fdan_edge.data.corpora import get_corpus
    from fdan_edge.data.corpora.synthetic.voices import SAMPLE_RATE, voice

    for actor in range(1, 5):
        (root / f"Actor_{actor:02}").mkdir(parents=True)
        for code, emotion in get_corpus("ravdess").emotions.items():
            path = root / f"Actor_{actor:02}" / f"03-01-{code}-01-01-01-{actor:02}.wav"
            waveform = voice("neutral" if emotion == "calm" else emotion, actor, int(code))
            soundfile.write(path, waveform, SAMPLE_RATE)


@pytest.fixture(scope="session")
def fer_tree(shared_folder: Path) -> Path:
    """7 emotions x 5 drawn faces under FER2013's layout."""
    return make_once(shared_folder / "fer2013", _write_fer2013)


def _write_fer2013(root: Path) -> None:
    from fdan_edge.data.corpora.synthetic.corpus import CLASSES
    from fdan_edge.data.corpora.synthetic.faces import face

    for emotion in CLASSES:
        (root / "train" / emotion).mkdir(parents=True)
        for index in range(5):
            face(emotion, index).save(root / "train" / emotion / f"{index}.png")


@pytest.fixture(scope="session")
def run_folder(
    shared_folder: Path, ravdess_tree: Path, fer_tree: Path, empty_pictures: Callable[..., None] | None
) -> Path:
    """A finished tiny FDAN run: 2 epochs on `ravdess_tree` and `fer_tree`. Read only; needs PyTorch."""
    pytest.importorskip("torch")

    def write(folder: Path) -> None:
        from fdan_edge.config import Config
        from fdan_edge.data.corpora import Source
        from fdan_edge.training.run import train

        config = Config.load(None, list(TINY))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("matplotlib.figure.Figure.savefig", empty_pictures)  # the real one
            train(config, [Source("ravdess", ravdess_tree)], folder, faces=[Source("fer2013", fer_tree)])

    return make_once(shared_folder / "run", write)


@pytest.fixture(scope="session")
def bundle_folder(shared_folder: Path, request: pytest.FixtureRequest) -> Path:
    """The bundle of `run_folder`, without an engine. Read only."""

    def write(folder: Path) -> None:
        run = request.getfixturevalue("run_folder")
        from fdan_edge.export.pipeline import export_bundle

        export_bundle(run, folder)

    return make_once(shared_folder / "bundle", write)


@pytest.fixture
def package_models(shared_folder: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bundles `open` and `research` in the place of those of the package: `bundle_folder`, with an about.json."""
    from fdan_edge.runtime import included
    from tests.helpers.package_models import write_package_models

    folder = make_once(shared_folder / "models", lambda folder: write_package_models(folder, bundle_folder))
    monkeypatch.setattr(included, "FOLDER", folder)
    return folder


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; gives exit code, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "80")

    from fdan_edge import cli

    def command(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return int(end.value.code or 0), written.out, written.err

    return command


@pytest.fixture
def fails(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Run a command that is a user's mistake; gives its one line of standard error."""

    def command(*arguments: str | Path) -> str:
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").strip()

    return command
