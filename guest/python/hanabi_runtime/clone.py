"""Making a restored clone differ from its original: reseed random generators in user space from the kernel.

The kernel itself has been given fresh entropy before this. Python's hash seed cannot be changed in a running process: clones share it.
"""

import os
import sys


def reseed() -> None:
    if random := sys.modules.get("random"):
        random.seed()
    if tempfile := sys.modules.get("tempfile"):
        tempfile._name_sequence = None  # type: ignore[attr-defined]  # names of its own, by a generator that is made when the next is wanted
    if ssl := sys.modules.get("ssl"):
        ssl.RAND_add(os.urandom(64), 64.0)  # makes OpenSSL's generators reseed before they give out anything
