"""The rest-xml protocol: what is known of it without a codec, which comes with the first service that speaks it."""

# By their signing names, all services of AWS that speak it, as botocore's models have it: their clients read errors in XML only.
SIGNING_NAMES = frozenset({"cloudfront", "route53", "s3"})
