"""DICOMweb (PS3.18), read-only: QIDO-RS and WADO-RS over images received and results made."""
