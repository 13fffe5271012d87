"""The parts of the bundled Python runtime. A package, so that no name of ours can hide a function's own module."""
