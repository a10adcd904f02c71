"""Settings of the audit trail."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from oncopixel_pacs.settings.section import Section


class AuditSettings(Section):
    """Where audit records go besides the database: a repository that speaks syslog over TLS."""

    syslog_host: str = ""
    """Name of the repository, as in its certificate; empty: records stay in the database."""
    syslog_port: int = Field(default=6514, ge=1, le=65535)
    """Its port (RFC 5425)."""
    syslog_ca_file: Path | None = None
    """Authorities that vouch for it (PEM); those of the system when absent."""

    @property
    def receiver(self) -> str:
        """What the repository is known by, where it stands in the database."""
        return f"syslog {self.syslog_host}:{self.syslog_port}" if self.syslog_host else ""
