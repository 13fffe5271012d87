"""Every number of AWS's, once, each with the page that states it: of the AWS Lambda developer guide unless another is named."""

ACCOUNT_CONCURRENCY = 1000  # "Lambda quotas": concurrent executions, default
UNRESERVED_CONCURRENCY_MIN = 100  # "Configuring reserved concurrency for a function": what must stay unreserved
