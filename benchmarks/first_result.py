"""Time from the last view of a study to its analysis: ``python -m benchmarks.first_result``.

Starts a server as it comes (all roles, default settings, the shipped models) on free ports, sends
synthetic four-view studies by C-STORE, one after the other, and reads from the ledger when the
last view was received, when the analysis began and when it ended.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median, quantiles

from benchmarks.served import VIEWS, finished, moment, send, serving, study_of
from oncopixel_pacs.logs import configure_logging
from sample_dicom.study import write_studies

#: What a study that arrives whole may wait for its analysis.
GOAL_SECONDS = 2.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--columns", type=int, default=832)
    options = parser.parse_args()
    configure_logging("error", "text")
    with tempfile.TemporaryDirectory(prefix="oncopixel-first-") as name:
        images = list(
            write_studies(
                Path(name) / "sent", options.studies, 1, rows=options.rows, columns=options.columns
            )
        )
        parts = _measure(Path(name) / "data", images)
    print(f"{'':24}{'median':>8}{'95 %':>8}{'longest':>9}   seconds after the last view came")
    for part, seconds in parts.items():
        # A percentile above all but one of few values is no better than the longest.
        high = quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
        print(f"{part:24}{median(seconds):8.2f}{high:8.2f}{max(seconds):9.2f}")
    late = sum(seconds > GOAL_SECONDS for seconds in parts["analysis begins"])
    print(f"{late} of {options.studies} began after more than {GOAL_SECONDS:g} s")
    if late:
        raise SystemExit(1)


def _measure(data_dir: Path, images: list[Path]) -> dict[str, list[float]]:
    """Seconds from the last view, of each study, by what happened then."""
    parts: dict[str, list[float]] = {
        name: [] for name in ("study is complete", "analysis begins", "analysis is done")
    }
    with serving(data_dir) as (client, port):
        for first in range(0, len(images), VIEWS):
            study = images[first : first + VIEWS]
            send(study, port)
            uid = study_of(study[0])
            job = finished(client, uid)
            last = moment(client.get(f"/api/v1/studies/{uid}").json()["last_received_at"])
            step = next(item for item in job["steps"] if item["name"] == "analyse")
            moments = (job["created_at"], step["started_at"], step["finished_at"])
            for seconds, text in zip(parts.values(), moments, strict=True):
                seconds.append((moment(text) - last).total_seconds())
    return parts


if __name__ == "__main__":
    main()
