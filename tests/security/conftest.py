"""Fixtures of the rooms that are attacked."""

from tests.system.sandbox.conftest import rig

__all__ = ["rig"]
