"""What is said about a data set: errors, warnings and notes, each with its file and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Finding:
    """Something to know before training.

    Attributes:
        severity: "error" (training would stop or learn something wrong), "warning" (probably
            not what was meant) or "note".
        file: the file to look at: the annotations or an image.
        annotation_id: of the annotation, None where it is not about one.
        message: what was found, with the place in the file where there is one.
        advice: what to do.
    """

    severity: Severity
    file: str
    annotation_id: Any
    message: str
    advice: str

    def __str__(self) -> str:
        which = "" if self.annotation_id is None else f"annotation {self.annotation_id}: "
        return f"{self.severity}: {self.file}: {which}{self.message}. To do: {self.advice}."


def errors_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings by severity, otherwise in the order they were made."""
    return sorted(findings, key=lambda finding: ORDER[finding.severity])
