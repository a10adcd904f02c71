"""``python -m oncopixel_pacs`` is ``oncopixel``."""

from oncopixel_pacs.cli import main

main()
