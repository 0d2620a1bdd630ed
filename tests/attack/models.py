"""Attacks with ONNX files and bundles of strangers, given to `infer` and `serve`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from fdan_edge.runtime.bundle import MANIFEST, MODEL
from tests.attack import graphs
from tests.attack.attack import Attack, attack, check
from tests.attack.command import Done, run_command
from tests.attack.place import Place, bundle, recording, write_bundle
from tests.helpers.bundles import edit

_SECONDS, _MEGABYTES = 30.0, 1000.0  # that a command may take to refuse


def _of_graph(name: str, make: graphs.Make) -> Attack:
    """Return the attack of a graph: `infer` refuses it, or answers as of a sound one."""

    def run(place: Place) -> str:
        done = run_command(["infer", write_bundle(place.folder / "bundle", make()), recording()], _SECONDS)
        return _answered(done, sound=name == "labels-with-escapes")

    run.__name__, run.__doc__ = f"onnx_{name}", f"Run a graph: {(make.__doc__ or '').lower()}"
    return attack(f"refused in a line, within {_SECONDS:g} s and {_MEGABYTES:g} MB")(run)


GRAPHS = [_of_graph(name, make) for name, make in graphs.HOSTILE.items()]


@attack("refused")
def data_that_the_manifest_does_not_list(place: Place) -> str:
    """Keep weights in a file beside the model, which no hash covers, and above it."""
    done = []
    for number, location in enumerate(("weights.bin", "../weights.bin", "/etc/passwd", "sub/../weights.bin")):
        folder = write_bundle(place.folder / str(number), graphs.with_external_data(location, 8))
        for path in (folder / "weights.bin", place.folder / "weights.bin"):
            path.write_bytes(bytes(8))
        done += [run_command(["infer", target, recording()]) for target in (folder, folder / MODEL)]
    return _all_refused(done)


@attack("refused, within 15 s and 500 MB")
def manifest_of_20_gigabytes(place: Place) -> str:
    """Give a sparse bundle.json of 20 GB."""
    folder = shutil.copytree(bundle(), place.folder / "bundle")
    with (folder / MANIFEST).open("r+b") as file:
        file.truncate(20 << 30)
    done = run_command(["infer", folder, recording()], 20)
    return check(done.refused and done.seconds < 15 and done.megabytes < 500, done.problem or done.measured)


@attack("refused, within 15 s and 500 MB")
def onnx_of_20_gigabytes(place: Place) -> str:
    """Give a sparse .onnx file of 20 GB."""
    path = place.folder / "model.onnx"
    with path.open("wb") as file:
        file.truncate(20 << 30)
    done = run_command(["infer", path, recording()], 20)
    return check(done.refused and done.seconds < 15 and done.megabytes < 500, done.problem or done.measured)


@attack("refused in a line each")
def hostile_manifests(place: Place) -> str:
    """Change bundle.json: paths, links, other types, depth, numbers of 10,000 digits, with a digest that fits."""
    done = [_with_manifest(place.folder / str(n), change) for n, change in enumerate(_manifests())]
    return _all_refused(done)


def _manifests() -> list[Callable[[Path], object]]:
    """Return what damages a bundle's folder."""
    return [
        lambda folder: edit(folder, lambda values: values["artifacts"][0].update(file="../model.onnx")),
        lambda folder: edit(
            folder, lambda values: values["files"].update({"../../etc/passwd": values["files"][MODEL]})
        ),
        lambda folder: edit(folder, lambda values: values.update(files={"/etc/passwd": values["files"][MODEL]})),
        lambda folder: edit(folder, lambda values: values["files"][MODEL].update(sha256="0" * 64)),
        lambda folder: edit(folder, lambda values: values.update(run="\x1b[31m\n" * 99, artifacts=None)),
        lambda folder: edit(folder, lambda values: values["spec"].update(labels=["a"] * 100_000)),
        lambda folder: _link(folder / MODEL),
        lambda folder: _link(folder / MANIFEST, "/dev/zero"),
        lambda folder: (folder / MANIFEST).write_text("[" * 100_000),
        lambda folder: (folder / MANIFEST).write_text('{"schema": ' + "9" * 10_000 + "}"),
        lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe" + bytes(99)),
        lambda folder: (folder / MODEL).write_bytes(b"\x80\x04cos\nsystem\n(S'touch executed'\ntR."),
    ]


def _with_manifest(folder: Path, change: Callable[[Path], object]) -> Done:
    shutil.copytree(bundle(), folder)
    change(folder)
    return run_command(["infer", folder, recording()], 20)


def _link(path: Path, target: str = "") -> None:
    other = path.with_name(f"{path.name}.other")
    path.rename(other)
    path.symlink_to(target or other.name)


@attack("does not start; refused within 60 s")
def serve_a_graph_that_never_answers(place: Place) -> str:
    """Start `serve` with a graph that does not end."""
    folder = write_bundle(place.folder / "bundle", graphs.endless_loop())
    done = run_command(["serve", folder, "--port", "0"], 60)
    return check(done.code == 2 and "Traceback" not in done.err, f"exit code {done.code}; {done.measured}")


def _answered(done: Done, *, sound: bool = False) -> str:
    """Check what came of a hostile graph."""
    held = (done.refused or (sound and done.code == 0 and not done.problem)) and done.megabytes <= _MEGABYTES
    words = done.problem or ("refused" if done.code == 2 else f"exit code {done.code}")
    return check(held, f"{words}; {done.measured}")


def _all_refused(done: list[Done]) -> str:
    wrong = [one.problem or f"exit code {one.code}" for one in done if not one.refused]
    slowest, most = max(one.seconds for one in done), max(one.megabytes for one in done)
    words = f"{len(done)} tries, {wrong or 'all refused'}; at most {slowest:.1f} s, {most:.0f} MB"
    return check(not wrong and most <= _MEGABYTES, words)
