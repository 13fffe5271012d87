"""The rest-xml protocol: which services use it. Its codec comes with the first of them that Hanabi serves."""

# By their signing names, all services of AWS that speak it, as botocore's models have it: their clients read errors in XML only.
SIGNING_NAMES = frozenset({"cloudfront", "route53", "s3"})
