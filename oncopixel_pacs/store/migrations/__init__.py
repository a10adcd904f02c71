"""Schema history of the ledger (Alembic)."""
