"""Where we bend pynetdicom: bounded PDUs, deadlines, and C-STORE served on the way.

The library reads a PDU of any length, waits for its end for ever, and leaves temporary files
behind when a peer goes away (pynetdicom issue 1086). Nothing is patched in the library itself:
each association of a `server.SpoolingServer` gets our socket, our upper layer provider, our state
machine and our DIMSE provider instead of its own. That leans on names inside the pinned version;
a test compares every one of them, and that nothing outside this package leans on them.
"""

#: The version whose insides were checked.
PYNETDICOM_VERSION = "3.0.4"
