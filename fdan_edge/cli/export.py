"""The verb that carries a trained model to a device: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from fdan_edge.cli.options import AsJson, Speech, needs_training, parsed, print_json
from fdan_edge.errors import ConfigError
from fdan_edge.runtime.deploy_targets import TARGETS, default_precisions

_TARGET_HELP = f"Where it will run: {', '.join(TARGETS)}; repeat for more."


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    target: Annotated[list[str], typer.Option("--target", metavar="NAME", help=_TARGET_HELP)] = [],  # noqa: B006
    precision: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="fp32, fp16 or int8; repeat for more.",
            show_default=default_precisions(),
        ),
    ] = [],  # noqa: B006
    onnx: Annotated[
        bool, typer.Option("--onnx", metavar="", help="Write model.onnx for target cpu (the default).")
    ] = False,
    trt: Annotated[
        bool, typer.Option("--trt", metavar="", help="For the TensorRT that is installed here too; needs one.")
    ] = False,
    student: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="BACKBONE", help="Train a smaller network from RUN first, in OUT-student."),
    ] = None,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of the student.")
    ] = [],  # noqa: B006
    triton: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="DIR", help="Write a model repository for NVIDIA Triton too."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Keep an int8 that is not faster than fp32.")
    ] = False,
    speech: Speech = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Turn a run's acoustic path into a bundle for where it will run.

    Each file is run over held-out recordings beside the PyTorch model, and refused where it recognises worse.
    """
    needs_training()
    from fdan_edge.cli.render import export as show_export
    from fdan_edge.export.distil import distil
    from fdan_edge.export.pipeline import export_bundle
    from fdan_edge.export.plan import installed_target, plan
    from fdan_edge.export.triton import check_place, write_repository
    from fdan_edge.runtime.bundle import check_out

    required = installed_target().name if trt else ""
    targets = [*(["cpu"] if onnx or not target else []), *target, *([required] if trt else [])]
    if student:
        plan(targets, precision)  # a mistake costs no training
    check_out(out)
    name = out.resolve().name
    if triton:
        check_place(triton, out, name)
    sources = parsed(speech)
    if set_ and not student:
        raise ConfigError("--set changes a student; name its network with --student")
    if student:
        run = distil(run, student, out.resolve().with_name(f"{name}-student"), set_, sources)
    bundle = export_bundle(
        run, out, targets=targets, precisions=precision, speech=sources, force=force, required=required
    )
    written = write_repository(bundle, triton, name) if triton else []
    print_json(show_export.exported_dict(bundle, written)) if as_json else show_export.exported(bundle, written)
