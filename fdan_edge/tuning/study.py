"""The folder of a tuning: what it was begun with, Optuna's storage, and which process works on which trial.

study.toml      settings, space, folds, sampler, pruner and corpora that the study was begun with
journal.log     Optuna's storage: every trial's settings, reports and value
trials/0007     the run folders of the seventh trial, fold-1 and so on
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import tomli_w
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from fdan_edge.config import DECISIVE, Config, config_from_dict, config_to_dict, read_toml
from fdan_edge.errors import CheckpointError, ConfigError, one_line
from fdan_edge.runs.run_folder import sole_writer
from fdan_edge.tuning.search_space import Dimension, grid, own_values
from fdan_edge.utils.files import remove_leftovers, write_text

FORMAT = "fdan-edge study 1"
#: What is written under a temporary name first, which a killed process leaves.
_FILES = ("study.toml", "tuning.json", "tuning.md", "tuning.png", "tuning.svg", "best.toml")
SAMPLERS = ("tpe", "gp", "qmc", "random", "grid")
PRUNERS = ("median", "hyperband", "none")
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
_TRIES = 3  # a trial whose process ended so often before the next epoch is given up


@dataclass(frozen=True)
class StudySetup:
    """What a study is begun with; to go on with it takes the same."""

    config: Config  # of the first trial, and of what is not tuned
    space: tuple[Dimension, ...]
    folds: int
    sampler: str
    pruner: str
    speech: tuple[str, ...]  # sources, paths made absolute
    faces: tuple[str, ...]
    recordings: str  # how many, and a digest of their names

    @property
    def steps(self) -> int:
        """Count the epochs of a whole trial, over all folds."""
        return self.folds * self.config.epochs

    def options(self) -> dict[str, Any]:
        """Give all but the settings, under the names that study.toml and messages use."""
        return {
            "--speech": list(self.speech),
            "--faces": list(self.faces),
            "--space": [str(dimension) for dimension in self.space],
            "--folds": self.folds,
            "--sampler": self.sampler,
            "--pruner": self.pruner,
            "recordings": self.recordings,
        }


@dataclass(frozen=True)
class TrialRecord:
    """What is known of a trial so far."""

    number: int  # from 1
    state: str  # complete, pruned, failed or running
    uar: float | None  # mean over the folds; of a pruned one over what it came to
    step: int  # epochs it was trained, over all folds
    folds: list[float]  # UAR of each finished one
    settings: dict[str, Any]
    reason: str  # why it failed

    @property
    def name(self) -> str:
        """Name its folder."""
        return f"{self.number:04}"


class Study:
    """Optuna's study in a folder, shared by any number of processes."""

    def __init__(self, folder: Path, setup: StudySetup) -> None:
        self.folder, self.setup = folder, setup
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        journal = str(folder / "journal.log")
        with self.locked():
            remove_leftovers(folder, _FILES)
            _save_or_check(folder / "study.toml", setup)
            self.optuna = _open_study(journal, _pruner(setup))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from taking up trials and writing results. The lock ends with the process."""
        with (self.folder / ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def next_trial(self, trials: int) -> Iterator[Trial | None]:
        """Take a trial for this process alone: one that a process left behind, or a new one. None: none is left.

        A process that works on a trial holds the lock of the trial's folder, so who finds it free finds its
        process dead. The lock comes before the look at the state: the process may have finished in between.
        """
        with contextlib.ExitStack() as stack:
            with self.locked():
                trial = self._abandoned(stack) or self._new(trials, stack)
            yield trial

    def trials(self) -> list[TrialRecord]:
        """List all trials that were begun."""
        return [_record(frozen) for frozen in self.optuna.get_trials(deepcopy=False) if frozen.state in _STATES]

    def reported(self, trial: Trial) -> set[int]:
        """Give the epochs, counted over the folds, that Optuna knows of."""
        return set(self._frozen(trial).intermediate_values)

    def run_folder(self, trial: Trial, fold: int) -> Path:
        """Name the folder where a fold of a trial is trained; folds count from 1."""
        return self._folder(trial.number) / f"fold-{fold}"

    def start(self, trial: Trial) -> None:
        """Count that a trial is begun, at the epoch where it stands.

        Raises:
            TrialGivenUpError: its process ended there each time, most likely for want of memory.
        """
        step = len(self.reported(trial))
        starts = [*trial.user_attrs.get("starts", []), step]
        trial.set_user_attr("starts", starts)
        if starts.count(step) > _TRIES:
            raise TrialGivenUpError(f"its process ended {_TRIES} times before epoch {step + 1} was over")

    def _folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number + 1:04}"

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.optuna.get_trials(deepcopy=False)[trial.number]

    def _abandoned(self, stack: contextlib.ExitStack) -> Trial | None:
        for frozen in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            try:
                lock = contextlib.ExitStack()
                lock.enter_context(sole_writer(self._folder(frozen.number)))
            except CheckpointError:
                continue
            if self.optuna.get_trials(deepcopy=False)[frozen.number].state == TrialState.RUNNING:
                stack.enter_context(lock)
                return self._with_values(Trial(self.optuna, frozen._trial_id))
            lock.close()
        return None

    def _new(self, trials: int, stack: contextlib.ExitStack) -> Trial | None:
        known = self.optuna.get_trials(deepcopy=False)
        waiting = [frozen for frozen in known if frozen.state == TrialState.WAITING]
        number = len(known) - len(waiting)
        if number >= min(trials, count(self.setup)):
            return None
        seed = self.setup.config.seed
        self.optuna.sampler = _sampler(self.setup.sampler, seed, number)
        if not waiting and (values := _fixed_values(self.setup, number)):
            self.optuna.enqueue_trial(values)
        trial = self.optuna.ask()
        stack.enter_context(sole_writer(self._folder(trial.number)))
        return self._with_values(trial)

    def _with_values(self, trial: Trial) -> Trial:
        """Have Optuna choose the values that it has not chosen for this trial yet."""
        with _quiet():
            for dimension in self.setup.space:
                dimension.suggest(trial)
        return trial


class TrialGivenUpError(Exception):
    """A trial counts as failed: its settings do not go together, or it ends its process each time."""


class _Lock(JournalFileOpenLock):
    """The journal's lock by flock, which ends with a killed process; Optuna's own would be waited for.

    What a killed process or a full disk left of a line is cut off before the next is written: the two together
    would be a line that nobody can read.
    """

    def __init__(self, journal: str) -> None:
        super().__init__(journal)
        self._journal, self._handle = journal, -1

    def acquire(self) -> bool:
        self._handle = os.open(self._journal, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        _drop_partial_line(self._handle)
        return True

    def release(self) -> None:
        os.close(self._handle)


def _open_study(journal: str, pruner: BasePruner) -> optuna.Study:
    try:
        with _quiet():
            storage = JournalStorage(JournalFileBackend(journal, lock_obj=_Lock(journal)))
            return optuna.create_study(
                storage=storage,
                study_name="fdan-edge",
                direction="maximize",
                pruner=pruner,
                load_if_exists=True,
            )
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{journal}: damaged: {one_line(error)}; name another --out") from None


def _drop_partial_line(handle: int) -> None:
    """Shorten a file to its last whole line."""
    end = size = os.lseek(handle, 0, os.SEEK_END)
    while end and os.pread(handle, 1, end - 1) != b"\n":
        end -= 1
    if end < size:
        os.ftruncate(handle, end)


def count(setup: StudySetup) -> float:
    """Count how many trials there can be: infinitely many, but for a grid."""
    return len(grid(setup.space)) if setup.sampler == "grid" else float("inf")


def _fixed_values(setup: StudySetup, number: int) -> dict[str, Any]:
    """Give the values that the sampler does not choose: the grid's, or the settings' own for the first trial."""
    if setup.sampler == "grid":
        return grid(setup.space)[number]
    return own_values(setup.space, setup.config) if number == 0 else {}


def _sampler(name: str, seed: int, number: int) -> BaseSampler:
    """Make the sampler of one trial, counted from 0.

    Its random numbers come from (seed, number): a sampler that is made again when a study goes on, or by a
    second process, would else choose again what it chose at first. Sobol's points are numbered in the storage.
    """
    own = (seed * 1_000_003 + number) % 2**32
    with _quiet():
        if name == "tpe":
            return TPESampler(seed=own, constant_liar=True)  # others' unfinished trials count as poor ones
        if name == "gp":
            return GPSampler(seed=own)
        if name == "qmc":
            return QMCSampler(
                seed=seed,
                scramble=True,
                independent_sampler=RandomSampler(seed=own),
                warn_independent_sampling=False,
            )
        return RandomSampler(seed=own)


def _pruner(setup: StudySetup) -> BasePruner:
    """Make the pruner. It spares the first third of the first fold: the learning rate only begins to work."""
    first = max(1, setup.config.epochs // 3)
    if setup.pruner == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=first)
    if setup.pruner == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=max(setup.steps, first + 1))
    return NopPruner()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's warnings of experimental parts: which they are differs by version, and helps nobody."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _save_or_check(path: Path, setup: StudySetup) -> None:
    """Write study.toml; raise CheckpointError where it is there and names another setup."""
    if not path.exists():
        table = {name.removeprefix("--"): value for name, value in setup.options().items()}
        values = {"format": FORMAT, **table, "config": config_to_dict(setup.config)}
        write_text(path, tomli_w.dumps(values))
        return
    begun = read_toml(path)
    if begun.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not of the format {FORMAT!r}")
    try:
        before = config_from_dict(begun["config"])
        pairs = {name: (getattr(before, name), getattr(setup.config, name)) for name in DECISIVE}
        pairs |= {name: (begun[name.removeprefix("--")], now) for name, now in setup.options().items()}
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged: {one_line(error)}") from None
    for name, (old, new) in pairs.items():
        if old != new:
            raise CheckpointError(
                f"{path.parent}: was begun with {name} = {old!r}, now it is {new!r}; repeat the command that it "
                "was begun with (--trials may grow), or name another --out"
            )


def _record(frozen: FrozenTrial) -> TrialRecord:
    steps = frozen.intermediate_values
    running = frozen.state == TrialState.RUNNING
    uar = steps[max(steps)] if running and steps else frozen.value
    attributes = frozen.user_attrs
    return TrialRecord(
        number=frozen.number + 1,
        state=_STATES[frozen.state],
        uar=uar,
        step=max(steps, default=0),
        folds=list(attributes.get("folds", [])),
        settings=dict(frozen.params),
        reason=attributes.get("reason", ""),
    )
