"""Files on disk: safe names, locks, strict reading."""
