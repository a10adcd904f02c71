"""PixelMed's DicomSRValidator: the template rules of PS3.16, which no other validator here knows.

Debian has it as ``libpixelmed-java``. Loading its rules takes long, so one Java machine looks at
many files; it lives in a process of its own, which is this file run as a program. Saxon applies
them: Java's own processor reads 2 MB of context groups anew for each code that it checks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

JARS = [
    Path("/usr/share/java") / name
    for name in ("pixelmed.jar", "vecmath.jar", "Saxon-HE.jar", "xml-resolver.jar")
]
_RULES = "com.pixelmed.validate.DicomSRValidator"
_PROCESSOR = "net.sf.saxon.TransformerFactoryImpl"
_COMPLETE = "Root Template Validation Complete"
_COMPLAINTS = ("Error", "Warning", "illegal", "xception")
_EXPECTED = (
    # Its table spells the meanings of 111024 and 111025 with two spaces.
    '"Failed  Analyses"',
    '"Failed  Detections"',
    # TID 1500 is extensible; the reason why an image was not analysed names that image.
    '(not-analysed,99ONCOPIXEL,"Why the image was not analysed")/IMAGE: Content Item not in',
)


def why_unavailable() -> str:
    """Say what is missing; empty when it can be run."""
    if not all(jar.exists() for jar in JARS):
        return "PixelMed is not installed (apt-get install libpixelmed-java libsaxonhe-java)"
    return "" if find_spec("jpype") else "jpype1 is not installed"


def template_problems(paths: Sequence[Path]) -> dict[Path, list[str]]:
    """Complaints about each structured report or key object document.

    A document whose root template was not found is a complaint too.
    """
    if not paths:
        return {}
    done = subprocess.run(
        [sys.executable, __file__, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return {path: list(_complaints(said[str(path)])) for path in paths}


def _complaints(text: str) -> list[str]:
    lines = text.splitlines()
    found = [
        line
        for line in lines
        if any(word in line for word in _COMPLAINTS)
        and not any(expected in line for expected in _EXPECTED)
    ]
    return found if _COMPLETE in lines else [*found, "Error: the root template was not validated"]


def _main(paths: Sequence[str]) -> None:
    import jpype

    jpype.startJVM(
        "-XX:+UseSerialGC",
        f"-Djavax.xml.transform.TransformerFactory={_PROCESSOR}",
        classpath=[str(jar) for jar in JARS],
    )
    rules = jpype.JClass(_RULES)()
    second = rules.getClass().getDeclaredField("transformerPass2")
    second.setAccessible(True)
    look = second.get(rules).getUnderlyingController()
    said = {}
    for path in paths:
        attributes = jpype.JClass("com.pixelmed.dicom.AttributeList")()
        # What the first pass found comes to the second under one name for every document.
        look.clearDocumentPool()
        try:
            attributes.read(path)
            said[path] = str(rules.validate(attributes))
        except jpype.JException as exc:
            said[path] = f"Exception: {exc}"
    sys.stdout.write("\n" + json.dumps(said) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
