"""The demonstration: a modality, this server and an archive on one machine, for real."""
