"""The DICOM Conformance Statement, written from the configuration that runs."""
