"""Makes a release: checks, distributions, bill of materials, licences, checksums."""
