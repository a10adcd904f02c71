"""Taking images in: the storage and verification SCP, and files from disk.

One way in for every object: `intake.Intake`. It checks the header, makes the bytes durable,
then records them; only after that is anything acknowledged.
"""
