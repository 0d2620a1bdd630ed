"""The verb that says what works on this machine: doctor."""

from __future__ import annotations

from fdan_edge.cli.options import AsJson, print_json


def doctor(as_json: AsJson = False) -> None:
    """Say what works on this machine, and how to get the rest."""
    from fdan_edge.cli.render import doctor as show_doctor
    from fdan_edge.profiling.doctor import examine

    findings = examine()
    print_json([vars(finding) for finding in findings]) if as_json else show_doctor.examined(findings)
