"""What crosses rooms. Each module can be read in one look, and none imports a room.

Units are in the names: `_s` seconds, `_ms` milliseconds, `_mb` MiB; bytes otherwise.
"""
