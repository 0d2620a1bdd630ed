"""`export --student`: a smaller network that learns from a run, trained before it is exported."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fdan_edge.config import DECISIVE, Config
from fdan_edge.data.corpora import Source, parse_source
from fdan_edge.errors import CheckpointError, ConfigError
from fdan_edge.runs.run_folder import RunInfo, load_run
from fdan_edge.training.distillation import load_teacher
from fdan_edge.training.run import train
from fdan_edge.utils.small_files import read_json_lines

log = logging.getLogger(__name__)

#: Settings that a student has from its teacher: what is heard, what is held out and what it is scored on. How it
#: is trained is its own: a large encoder's few epochs and slow steps would leave a small network untrained.
_FROM_TEACHER = (
    *("sample_rate", "window_seconds", "window_hop_seconds", "trim_db", "high_pass", "level", "channel"),
    "speed_perturbation",
    *("protocol", "test_speakers", "val_speakers", "folds", "fold", "test_texts", "test_fraction", "val_fraction"),
    *("calm_as_neutral", "boredom", "balanced", "seed", "split_seed", "threads", "cache"),
    *("method", "transfer_weight", "fc_layers", "aligned_layers", "alpha_ramp", "tau", "ida_iterations"),
)


def distil(
    run: Path,
    backbone: str,
    folder: Path,
    settings: Sequence[str] = (),
    sources: Sequence[Source] = (),
) -> Path:
    """Train a student of a run on the run's own speech and split, without faces.

    The same call again returns the finished student, or goes on where it was stopped.

    Args:
        run: the teacher, a finished run folder.
        backbone: the student's.
        folder: the student's run folder to write.
        settings: further ones of the student, each `key=value`.
        sources: where the speech is now; the run's own corpora when empty.

    Returns:
        `folder`.

    Raises:
        CheckpointError: the run is not finished, or the folder holds another student.
        ConfigError: a setting cannot work, or the run cannot teach.
        DataError: the run's corpora are not there any more, or have changed.
    """
    config, info = load_run(run)
    wanted = student_config(config, info, run, backbone, settings)
    begun = (folder / "run.toml").exists()
    if begun:
        _check_same(folder, wanted, run)
    if begun and _finished(folder, wanted.epochs):
        log.info(f"{folder}: the student is trained already")
        return folder
    log.info(f"training the student {backbone} of {run}, in {folder}")
    own, target = ([parse_source(text) for text in texts] for texts in (info.speech, info.target))
    speech = list(sources) or own
    train(wanted, speech, folder, target=target, resume=begun)
    return folder


def student_config(
    config: Config, info: RunInfo, run: Path, backbone: str, settings: Sequence[str] = ()
) -> Config:
    """Return the settings of a student of a run with these settings.

    Raises:
        ConfigError: a setting cannot work.
    """
    if config.protocol == "all":
        raise ConfigError(
            f"{run}: was trained on every recording, so none is left to test a student on; train the teacher with "
            "--set protocol=speaker"
        )
    kept = {name: getattr(config, name) for name in _FROM_TEACHER}
    if config.recipe == "head":
        kept |= {"fc_layers": 1, "balanced": False, "speed_perturbation": 0.1}
    if config.method == "fdan" and info.target:
        # Faces were the teacher's bridge to the target; the student has the teacher's words for the target.
        kept |= {"method": "mmd", "transfer_weight": 0.0}
    kept |= {"teacher": str(run.resolve()), "recipe": "network"}
    return Config.load(None, [f"backbone={backbone}", *settings], **kept)


def _check_same(folder: Path, wanted: Config, run: Path) -> None:
    """Raise CheckpointError where the folder's student was begun otherwise."""
    begun, info = load_run(folder)
    for name in DECISIVE:
        old, new = getattr(begun, name), getattr(wanted, name)
        if old != new:
            raise CheckpointError(
                f"{folder}: holds a student with {name} = {old}, not {new}; "
                "name another --out, or remove the folder"
            )
    load_teacher(run, info.teacher.get("sha256", ""))


def _finished(folder: Path, epochs: int) -> bool:
    """Return a training that diverged has scores too, but not all epochs."""
    if not all((folder / name).is_file() for name in ("metrics.json", "epochs.jsonl")):
        return False
    try:
        return len(read_json_lines(folder / "epochs.jsonl")) == epochs
    except ValueError:
        return False
