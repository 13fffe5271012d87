"""`python -m hanabi.services`: list all registered operations, one a line."""

from itertools import groupby

from hanabi.services.listing import known_operations, listed_operations


def main() -> None:
    for service, listed in groupby(listed_operations(), key=lambda each: each.service):
        rows = [(each.operation, each.action or "-", each.resource or "-", each.handler) for each in listed]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print(f"{service}: {len(rows)} of {len(known_operations(service))} operations")
        for row in rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
