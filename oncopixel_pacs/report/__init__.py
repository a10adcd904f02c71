"""Writing result objects: SEG, TID 1500 SR, and the gate before sending."""
