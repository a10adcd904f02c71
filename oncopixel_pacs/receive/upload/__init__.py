"""Uploads: DICOM, archives of DICOM, and pictures, which become Secondary Captures first.

Names and first bytes are looked at in this process; everything that inflates or decodes runs in a
child process with a limit on memory, time and size of files (`unpacking`).
"""
