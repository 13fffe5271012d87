"""`make bench`: ratios measured in one run on one machine, as a table and as JSON."""
