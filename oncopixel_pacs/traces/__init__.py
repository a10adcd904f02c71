"""One trace of each study for OpenTelemetry, made of what the ledger knows."""
