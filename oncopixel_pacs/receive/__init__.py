"""Taking images in: the storage and verification SCP."""
