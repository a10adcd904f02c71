"""OncoPixel PACS: an open mammography AI server. Research use only, not for diagnosis."""

from importlib.metadata import version

__version__ = version("oncopixel-pacs")
RESEARCH_NOTICE = "Research use only. Not for diagnosis."
