"""``python -m oncopixel_pacs`` is ``oncopixel``."""

from oncopixel_pacs.cli import main

# The child process that runs the models imports this module again.
if __name__ == "__main__":
    main()
