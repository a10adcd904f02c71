"""From a DICOM image to the array a model reads, and back. Shared by serving and training."""
