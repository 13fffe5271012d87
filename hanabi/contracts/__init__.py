"""Types and protocols that packages share. Each module is short, and none imports another package of Hanabi's.

Units are in the names: `_s` seconds, `_ms` milliseconds, `_mb` MiB; bytes otherwise.
"""
