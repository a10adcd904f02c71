"""What runs the models, as the workflow sees it."""

from __future__ import annotations

from typing import Protocol

from oncopixel_pacs.domain import StudyResult
from oncopixel_pacs.infer.request import AnalysisRequest


class Analyser(Protocol):
    """Runs the models on one study; `infer.device_process` has the one for serving."""

    @property
    def device(self) -> str:
        """Name of the device that it computes on."""

    def analyse(self, request: AnalysisRequest) -> StudyResult:
        """Read a study; raises `AnalysisFailed`."""
