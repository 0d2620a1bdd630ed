"""`fdan-edge evaluate`: which recordings may be scored, and the scores, as they are or disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fdan_edge.audio.conditions.recorded import load_recordings
from fdan_edge.data.corpora import Item, Source, SourceLike, parse_sources, recording_key
from fdan_edge.data.leak_audit import NOT_AUDITED
from fdan_edge.data.speech import choose_part, pick, read_labelled_speech
from fdan_edge.errors import CheckpointError
from fdan_edge.evaluation import plots
from fdan_edge.evaluation.feature_plot import draw_features, faces_of
from fdan_edge.evaluation.robustness import USUAL_LIMIT, Robustness, robustness_items
from fdan_edge.evaluation.robustness_report import write_report
from fdan_edge.evaluation.score_items import Evaluation, score_items
from fdan_edge.runs.run_folder import load_run, load_split
from fdan_edge.runs.torch_runner import TorchRunner
from fdan_edge.runtime.bundle import Bundle, is_bundle
from fdan_edge.runtime.opening import open_runner
from fdan_edge.runtime.runner import Runner
from fdan_edge.utils.files import sha256


@dataclass(frozen=True)
class Drawing:
    """Which pictures of a scoring are wanted: confusion matrix and reliability diagram always."""

    folder: Path
    tsne: bool = False  # features of voices and faces too; needs a run folder
    faces: list[Source] | None = None  # of the t-SNE; the run's own when None


def evaluate(
    model: str | Path,
    speech: Sequence[SourceLike],
    part: str = "test",
    *,
    run: Path | None = None,
    drawing: Drawing | None = None,
    threads: int = 0,
) -> Evaluation:
    """Score a model on a part of the given speech.

    Args:
        model: a run folder, a bundle or an .onnx file.
        speech: labelled corpora, each `"corpus:path"` or a `Source`.
        part: test, val, train, or all of what is given.
        run: the run folder of a bundle that was moved: it knows which speech was trained on.
        drawing: pictures to draw; None: none.
        threads: of the CPU's runtimes; 0: all cores.

    Raises:
        CheckpointError: which speech was trained on is not known, so test scores could be false; or a t-SNE is
            wanted of what is not a run folder.
        DataError: the speech cannot be used, or none of it is of the part.
        BundleError: the model cannot be used.
    """
    path = Path(model)
    with open_runner(path, threads) as runner:
        if drawing and drawing.tsne and not isinstance(runner, TorchRunner):
            raise CheckpointError(f"{path}: not a run folder; only one holds the features that --tsne draws")
        choice = _choose(path, runner, speech, part, run)
        # What can fail at once fails before minutes of scoring.
        faces = _prepare(drawing, runner) if drawing else []
        items = choice.all
        evaluation = replace(score_items(runner, items, choice.description), audit=choice.verdict)
        if drawing:
            _draw(evaluation, runner, items, faces, drawing)
    return evaluation


def evaluate_robustness(
    model: str | Path,
    speech: Sequence[SourceLike],
    part: str = "test",
    *,
    run: Path | None = None,
    noise: Sequence[str | Path] = (),
    limit: int = USUAL_LIMIT,
    out: Path | None = None,
    threads: int = 0,
) -> Robustness:
    """Score a model in noise and rooms, over telephones, through codecs and at other levels.

    Args:
        model: a run folder, a bundle or an .onnx file.
        speech: labelled corpora, each `"corpus:path"` or a `Source`.
        part: test, val, train, or all of what is given.
        run: the run folder of a bundle that was moved: it knows which speech was trained on.
        noise: files or folders of recorded noise, one more kind beside those that are generated.
        limit: recordings that are scored at most, evenly over the classes; 0: all.
        out: a folder for robustness.json, .md, .png and .svg. None: a run folder's own, where none of the
            recordings was trained on; else nothing is written.
        threads: of the CPU's runtimes, and those that change recordings; 0: all cores.

    Raises:
        CheckpointError: which speech was trained on is not known, so scores could be false.
        DataError: the speech cannot be used, none of it is of the part, or there is no usable noise in a path.
        BundleError: the model cannot be used.
    """
    path = Path(model)
    with open_runner(path, threads) as runner:
        choice = _choose(path, runner, speech, part, run)
        noises = load_recordings([Path(one) for one in noise])
        items = pick(choice.items, limit) if 0 < limit < len(choice.items) else choice.items
        description = choice.description
        if len(items) < len(choice.items):
            description = f"{len(items)} of {len(choice.items)}, {description}"
        scored = robustness_items(runner, [*items, *choice.others], description, noises=noises, threads=threads)
    seen = {recording_key(key) for name in ("train", "val", "target") for key in choice.split.get(name, [])}
    scored = replace(
        scored,
        audit=choice.verdict,
        unseen=choice.folder is not None and not any(recording_key(item.key) in seen for item in items),
        checkpoint_sha256=_checkpoint(choice.folder),
    )
    if folder := out or (path if choice.folder == path and scored.unseen else None):
        write_report(scored, folder)
    return replace(scored, folder=str(folder or ""))


def _checkpoint(folder: Path | None) -> str:
    path = folder / "checkpoint.safetensors" if folder else None
    return sha256(path) if path and path.is_file() else ""


@dataclass(frozen=True)
class _Choice:
    """What is scored of the given speech."""

    items: list[Item]
    others: list[Item]  # of classes that the model does not know; they are counted, and of no part
    description: str
    verdict: str
    folder: Path | None  # of the run
    split: dict[str, list[str]]

    @property
    def all(self) -> list[Item]:
        """Items and others, each once."""
        return list(dict.fromkeys([*self.items, *self.others]))


def _choose(path: Path, runner: Runner, speech: Sequence[SourceLike], part: str, run: Path | None) -> _Choice:
    """Read the speech, and choose what is of the part."""
    folder = run_folder(path, run)
    split = _split_of(path, folder, part)
    labels = runner.spec.labels
    items = read_labelled_speech(
        parse_sources(speech), calm_as_neutral="calm" not in labels, boredom="boredom" in labels
    )
    others = [item for item in items if item.emotion not in labels]
    chosen, description = choose_part([i for i in items if i.emotion in labels] or items, split, part)
    return _Choice(chosen, others, description, _verdict(folder, split, chosen), folder, split)


def _split_of(model: Path, folder: Path | None, part: str) -> dict[str, list[str]]:
    """Load the split of the model's run folder; {} where that is not known, which `all` allows only."""
    if folder is None:
        if part != "all":
            raise CheckpointError(
                f"{model}: its run folder is not known, so neither is which speech it was trained on; "
                "name it with --run, or score everything with --part all"
            )
        return {}
    if part != "all":
        _check_same_run(model, folder)
    return load_split(folder)


def _verdict(folder: Path | None, split: dict[str, list[str]], chosen: list[Item]) -> str:
    """Return the run's audit where these recordings are of its test part; it says nothing about others."""
    test = {recording_key(key) for key in split.get("test", [])}
    if folder is None or any(recording_key(item.key) not in test for item in chosen):
        return f"{NOT_AUDITED}: not the run's test part"
    return load_run(folder)[1].audit


def _prepare(drawing: Drawing, runner: Runner) -> list[Item]:
    """Make the folder, and read the faces that are to be drawn."""
    faces = faces_of(runner, drawing.faces) if drawing.tsne and isinstance(runner, TorchRunner) else []
    drawing.folder.mkdir(parents=True, exist_ok=True)
    return faces


def _draw(evaluation: Evaluation, runner: Runner, items: list[Item], faces: list[Item], drawing: Drawing) -> None:
    title = f"{runner.name}, {evaluation.part}"
    plots.confusion_matrix(evaluation.scores, title, drawing.folder / "confusion")
    plots.reliability(evaluation.calibration, title, drawing.folder / "reliability")
    if drawing.tsne and isinstance(runner, TorchRunner):
        draw_features(runner, items, faces, drawing.folder / "tsne")


def run_folder(target: Path, run: Path | None) -> Path | None:
    """Find the run that a model comes from; `run` where it is named; None where it is not known.

    Raises:
        CheckpointError: `run` is no run folder.
    """
    if run is not None:
        load_run(run)  # a wrong --run is an error of its own
        return run
    if (target / "run.toml").is_file():
        return target
    name = Bundle.open(target).manifest.run if is_bundle(target) else ""
    return Path(name) if name and (Path(name) / "split.json").is_file() else None


def _check_same_run(target: Path, folder: Path) -> None:
    """Refuse a run that was trained anew in the same folder: what it calls test may have been trained on."""
    if is_bundle(target) and Bundle.open(target).manifest.split_sha256 != sha256(folder / "split.json"):
        raise CheckpointError(f"{folder}: is not the run that {target} was exported from; name it with --run")
