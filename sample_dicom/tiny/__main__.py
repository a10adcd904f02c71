"""``python -m sample_dicom.tiny [FOLDER]``: write the ready-made study anew."""

import sys
from pathlib import Path

from sample_dicom.tiny import FOLDER, write_tiny_study

if __name__ == "__main__":
    for written in write_tiny_study(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        sys.stdout.write(f"{written}\n")
