"""What is kept: Part 10 files and the ledger in the database."""
