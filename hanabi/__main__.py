"""`python -m hanabi`: the same as the command `hanabi`."""

from hanabi.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
