"""Make the models that come with the package: train, score, export and describe each, as `make models` does.

    python benchmarks/make_models.py
    python benchmarks/make_models.py open --data /data --folder emodb=/elsewhere/emodb

For each recipe of benchmarks/models: the corpora are compared with their digests, then the commands of fdan-edge
train on all of them, leave one corpus out after the other, score in noise, rooms, telephones and codecs, export,
and time a window. Runs stay in --work. The bundle in --out is exchanged in one step when all has succeeded.

--digests prints what corpora.toml says of the folders that are there.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import corpus_digests as digests
import included_card
from corpus_digests import Corpus, Places

from fdan_edge.data.corpora import get_corpus, parse_source, read
from fdan_edge.errors import ConfigError, ExportError, FdanEdgeError, one_line, unknown_choice
from fdan_edge.export.model_card import write_card
from fdan_edge.runtime.about import About, CorpusEntry, Score, Speed, write_about
from fdan_edge.runtime.bundle import Bundle, new_bundle, write_manifest
from fdan_edge.runtime.included import FOLDER
from fdan_edge.runtime.manifest import Artifact
from fdan_edge.runtime.typed_json import MAY_LACK, from_json
from fdan_edge.utils import messages
from fdan_edge.utils.machine import machine_line
from fdan_edge.utils.small_files import read_toml

log = logging.getLogger("fdan_edge.benchmarks")

RECIPES = Path(__file__).resolve().parent / "models"
CORPORA = "corpora.toml"
#: Bytes that a bundle may have: two of them, and the wheel stays below 25 MB.
MOST_BYTES = 8_000_000


@dataclass(frozen=True)
class Robustness:
    """On what the scores in noise, rooms and codecs are measured: one of the two.

    Args:
        corpora: that the model was not trained on; the bundle is scored.
        held_out: settings of a second training that keeps recordings for a test; that run is scored.
    """

    corpora: tuple[str, ...] = field(default=(), metadata=MAY_LACK)
    held_out: tuple[str, ...] = field(default=(), metadata=MAY_LACK)

    def __post_init__(self) -> None:
        if bool(self.corpora) == bool(self.held_out):
            raise ValueError("names either corpora or held_out")


@dataclass(frozen=True)
class Recipe:
    """What a file of benchmarks/models says."""

    title: str
    use: str
    terms: str
    corpora: tuple[str, ...]
    settings: tuple[str, ...]
    precision: str
    stream_graph: bool
    robustness: Robustness
    left_out: tuple[str, ...] = field(default=(), metadata=MAY_LACK)  # settings of the trainings without a corpus


@dataclass(frozen=True)
class Job:
    """A model that is being made."""

    name: str
    recipe: Recipe
    corpora: dict[str, Corpus]
    places: Places
    work: Path  # folder of its runs

    def speech(self, names: Sequence[str] = ()) -> list[str]:
        """Give the words that name corpora; those of the training where none is named."""
        sources = [
            source for name in names or self.recipe.corpora for source in self.places.sources(self.corpora[name])
        ]
        return [word for source in sources for word in ("--speech", source)]

    def settings(self, *more: str) -> list[str]:
        """Give the words of the settings."""
        return [word for setting in (*self.recipe.settings, *more) for word in ("--set", setting)]

    def shown(self, words: Sequence[str]) -> str:
        """Give a command for people: where the data and the runs lie is a machine's own affair."""
        places = {
            f"{corpus.name}:{self.places.of(folder)}": f"{corpus.name}:DATA/{folder.path}"
            for corpus in self.corpora.values()
            for folder in corpus.folders
        }
        work, runs = str(self.work), f"build/models/{self.name}"
        return shlex.join(["fdan-edge", *(places.get(word, word.replace(work, runs)) for word in words)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of recipes; none: all")
    parser.add_argument("--recipes", type=Path, default=RECIPES, help="where they are, and corpora.toml")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of all corpora")
    parser.add_argument(
        "--folder", action="append", default=[], metavar="NAME=PATH", help="where a corpus is else"
    )
    parser.add_argument("--any-files", action="store_true", help="take corpora with other files, too")
    parser.add_argument("--digests", action="store_true", help="print the digests of the folders, and end")
    parser.add_argument("--work", type=Path, default=Path("build/models"), help="where runs go")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where bundles go")
    arguments = parser.parse_args()
    try:
        known = digests.read_corpora(read_toml(arguments.recipes / CORPORA))
        places = Places(arguments.data, digests.known_folders(known, arguments.folder))
        if arguments.digests:
            print_digests(known, places)
            return
        recipes = read_recipes(arguments.recipes, arguments.models)
        for recipe in recipes.values():  # what is missing is said before hours of work
            digests.check([known[c] for c in recipe.corpora], places, any_files=arguments.any_files)
        for name, recipe in recipes.items():
            job = Job(name, recipe, known, places, arguments.work / name)
            make(job, arguments.out / name, any_files=arguments.any_files)
    except (FdanEdgeError, OSError, ValueError) as error:
        sys.exit(f"error: {one_line(error)}")


def print_digests(known: dict[str, Corpus], places: Places) -> None:
    """Print the entries of corpora.toml for the folders that are there."""
    for corpus in known.values():
        for folder in corpus.folders:
            if places.of(folder).is_dir():
                here = digests.digest(places.of(folder))
                print(f'{folder.name}: files = {here.files}, sha256 = "{here.sha256}"')


def read_recipes(folder: Path, names: Sequence[str]) -> dict[str, Recipe]:
    """Read recipes by their names; all of them where none is named.

    Raises:
        ConfigError: there is none of that name, or it has a mistake.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.toml")) if path.name != CORPORA}
    for name in names:
        if name not in files:
            raise ConfigError(unknown_choice("model", name, list(files)))
    recipes = {}
    for name in names or files:
        try:
            recipes[name] = from_json(Recipe, read_toml(files[name]))
        except ValueError as error:
            raise ConfigError(f"{files[name]}: {one_line(error)}") from None
    return recipes


def make(job: Job, out: Path, *, any_files: bool) -> Bundle:
    """Make a model and put its bundle at `out`; runs of an earlier attempt are removed.

    Raises:
        FdanEdgeError: a command failed, corpora are others, or the bundle is too large.
    """
    corpora = [job.corpora[name] for name in job.recipe.corpora]
    found, others = digests.check(corpora, job.places, any_files=any_files)
    for line in others:
        log.warning(line)
    shutil.rmtree(job.work, ignore_errors=True)
    run, exported = str(job.work / "run"), str(job.work / "bundle")
    train = ["train", *job.speech(), *job.settings(), "--out", run]
    command(train)
    command(["export", run, "--target", "cpu", "--precision", job.recipe.precision, "--out", exported])
    about = About(
        title=job.recipe.title,
        use=job.recipe.use,
        terms=job.recipe.terms,
        languages=tuple(dict.fromkeys(corpus.language for corpus in corpora)),
        corpora=tuple(corpus_entry(corpus, job.places, digests.of_corpus(corpus, found)) for corpus in corpora),
        scores=(*left_out_scores(job), *robustness_scores(job, exported)),
        speed=(speed(job, exported),),
        command=f"make models MODELS={job.name}",
    )
    return put(Bundle.open(exported), about, out, stream_graph=job.recipe.stream_graph)


def command(words: Sequence[str]) -> Any:
    """Run a command of fdan-edge and return what --json prints.

    Raises:
        ExportError: it did not end with exit code 0; evaluate may with 1, where recordings cannot be used.
    """
    log.info(shlex.join(["fdan-edge", *words]))
    done = subprocess.run(
        [sys.executable, "-m", "fdan_edge", *words, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in ((0, 1) if words[0] == "evaluate" else (0,)):
        raise ExportError(f"exit code {done.returncode} of: {shlex.join(['fdan-edge', *words])}")
    return json.loads(done.stdout)


def corpus_entry(corpus: Corpus, places: Places, sha256: str) -> CorpusEntry:
    """Describe a corpus as its reader knows it."""
    entry = get_corpus(corpus.name)
    items = [item for source in places.sources(corpus) for item in read(parse_source(source), "speech")]
    return CorpusEntry(
        name=corpus.name,
        title=entry.title,
        language=corpus.language,
        licence=entry.licence,
        credit=corpus.credit,
        recordings=len(items),
        speakers=len({item.speaker_key for item in items}),
        sha256=sha256,
    )


def left_out_scores(job: Job) -> list[Score]:
    """Train without one corpus after the other, and score on it."""
    settings = job.settings("protocol=loco", *job.recipe.left_out)
    words = ["crossval", *job.speech(), *settings, "--out", str(job.work / "left-out")]
    return [
        Score(
            test="corpora",
            on=get_corpus(row["corpus"]).title,
            uar=row["uar"],
            interval=tuple(row["intervals"]["uar"]),
            recordings=row["n"],
            classes=len(row["classes"]),
            command=job.shown(words),
        )
        for row in command(words)["corpora"]
    ]


def robustness_scores(job: Job, bundle: str) -> list[Score]:
    """Score in noise, rooms, telephones and codecs."""
    wanted = job.recipe.robustness
    if wanted.held_out:
        scored, corpora, part = str(job.work / "held-out"), job.recipe.corpora, "test"
        command(["train", *job.speech(), *job.settings(*wanted.held_out), "--out", scored])
    else:
        scored, corpora, part = bundle, wanted.corpora, "all"
    words = ["evaluate", scored, *job.speech(corpora), "--part", part, "--robustness"]
    return included_card.scores_of(command(words), job.shown(words))


def speed(job: Job, bundle: str) -> Speed:
    """Time a window with one thread."""
    words = ["bench", bundle, "--threads", "1", "--starts", "0"]
    values = command(words)
    row = values["latency"][0]
    return Speed(row["p50"], 1, row["runtime"], machine_line(values["machine"]), job.shown(words))


def put(exported: Bundle, about: About, out: Path, *, stream_graph: bool) -> Bundle:
    """Put a bundle into the package, with about.json and its card, in one step.

    Args:
        exported: as `fdan-edge export` left it.
        about: what it says of itself.
        out: its place; an earlier bundle is replaced.
        stream_graph: whether it keeps the graphs for live streams.

    Raises:
        ExportError: it is too large for the wheel.
    """
    artifacts = tuple(a if stream_graph else _without_stream(a) for a in exported.artifacts)
    left_out = {a.stream for a in exported.artifacts} - {a.stream for a in artifacts}
    manifest = replace(exported.manifest, artifacts=artifacts)
    with new_bundle(out) as folder:
        for name in exported.manifest.files:
            if name not in left_out:
                (folder / name).write_bytes(exported.read(name))
        write_about(folder, about)
        write_card(folder, manifest)
        included_card.extend(folder, about)
        bundle = write_manifest(folder, manifest)
        size = sum(entry.bytes for entry in bundle.manifest.files.values())
        if size > MOST_BYTES:
            raise ExportError(f"{out}: {size / 1e6:.1f} MB are more than {MOST_BYTES / 1e6:g}; it is not replaced")
    log.info(f"{out}: {size / 1e6:.1f} MB")
    return Bundle.open(out)


def _without_stream(artifact: Artifact) -> Artifact:
    gate = replace(artifact.gate, stream=None) if artifact.gate else None
    return replace(artifact, stream=None, gate=gate)


if __name__ == "__main__":
    with messages.shown():
        main()
