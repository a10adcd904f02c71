"""Synthetic mammography studies: no patient, a known lesion, real-looking DICOM."""
