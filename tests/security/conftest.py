"""Fixtures of the rooms that are attacked."""

from tests.system.sandbox.conftest import pytest_pycollect_makeitem, rig

__all__ = ["pytest_pycollect_makeitem", "rig"]
