"""HTTP: the status API and its pages, for people and programs."""
