"""Every number of AWS's, once, each with the page that states it: of the AWS Lambda developer guide unless another guide is named.

Units are in the names: `_BYTES`, `_MB` (MiB), `_S`, `_MS`, `_DAYS`. docs/quotas.md is made of this by `python -m tests.structure.quotas`.
"""

# --- a function -------------------------------------------------------------------------------------------------------

FUNCTION_NAME_CHARS = 64  # Lambda API reference, "CreateFunction": the name itself
MEMORY_MIN_MB = 128  # "Lambda quotas": function memory allocation
MEMORY_MAX_MB = 10_240  # "Lambda quotas": likewise; the API model's bound is wider, it is that of Managed Instances
MEMORY_DEFAULT_MB = 128  # Lambda API reference, "CreateFunction": MemorySize
VCPU_MB = 1_769  # "Configure Lambda function memory": memory that buys one vCPU
TIMEOUT_MAX_S = 900  # "Lambda quotas": function timeout
TMP_MIN_MB = 512  # "Lambda quotas": /tmp directory storage; the default, too
TMP_MAX_MB = 10_240  # "Lambda quotas": /tmp directory storage
ENVIRONMENT_BYTES = 4_096  # "Lambda quotas": environment variables, all together, as JSON
TAGS_MAX = 50  # "Using tags on Lambda functions": tags of a resource
TAG_KEY_CHARS = 128  # "Using tags on Lambda functions": maximum key length
TAG_VALUE_CHARS = 256  # "Using tags on Lambda functions": maximum value length
POLICY_BYTES = 20_480  # "Lambda quotas": resource-based policy
LAYERS_MAX = 5  # "Lambda quotas": layers of a function
LIST_PAGE_ITEMS = 50  # Lambda API reference, "ListFunctions": MaxItems, of which no answer has more

# --- its code ---------------------------------------------------------------------------------------------------------

ZIPPED_CODE_BYTES = 52_428_800  # "Lambda quotas": deployment package, zipped, uploaded directly: 50 MB
CODE_REQUEST_BYTES = 70_167_211  # Lambda API, "CreateFunction": a request that carries code in base64, as recorded
UNZIPPED_CODE_BYTES = 262_144_000  # "Lambda quotas": deployment package, unzipped, layers included: 250 MB
CODE_STORAGE_BYTES = 300 * 1024**3  # "Lambda quotas": storage of uploaded functions and layers, as GetAccountSettings was recorded
CODE_URL_S = 600  # Lambda API reference, "GetFunction": the link to the code is valid for ten minutes
IMAGE_BYTES = 10 * 1024**3  # "Lambda quotas": container image, uncompressed
IMAGE_CONFIG_BYTES = 16 * 1024  # "Lambda quotas": container image settings

# --- invocations ------------------------------------------------------------------------------------------------------

INVOKE_PAYLOAD_BYTES = 6 * 1024 * 1024  # "Lambda quotas": request and response of a synchronous invocation, each
RESPONSE_PAYLOAD_BYTES = INVOKE_PAYLOAD_BYTES + 100  # Runtime Interface Emulator, "interop.MaxPayloadSize": what a runtime may answer
STREAMED_RESPONSE_BYTES = 200 * 1024 * 1024  # "Lambda quotas": a streamed response of a synchronous invocation
STREAMED_BURST_BYTES = 6 * 1024 * 1024  # "Response streaming for Lambda functions": of a response, before its bandwidth is limited
STREAMED_BYTES_PER_S = 2 * 1024 * 1024  # "Response streaming for Lambda functions": the bandwidth of the rest
EVENT_PAYLOAD_BYTES = 1024 * 1024  # "Lambda quotas": payload of an asynchronous invocation
CLIENT_CONTEXT_BYTES = 3_583  # Lambda API reference, "Invoke": X-Amz-Client-Context, in base64
LOG_TAIL_BYTES = 4_096  # Lambda API reference, "Invoke": LogResult, the last 4 KB
TENANT_ENVIRONMENTS_PER_CONCURRENCY = 2.5  # "Tenant isolation": 2,500 environments for 1,000 concurrent executions
ACCOUNT_CONCURRENCY = 1_000  # "Lambda quotas": concurrent executions, the default
UNRESERVED_CONCURRENCY_MIN = 100  # "Configuring reserved concurrency for a function": what must stay unreserved
EVENT_AGE_MAX_S = 6 * 3_600.0  # "How Lambda handles errors and retries with asynchronous invocation": the default
EVENT_AGE_MIN_S = 60  # Lambda API reference, "PutFunctionEventInvokeConfig": MaximumEventAgeInSeconds
EVENT_RETRIES_MAX = 2  # Lambda API reference, "PutFunctionEventInvokeConfig": MaximumRetryAttempts; the default, too
EVENT_RETRY_DELAYS_S = (60.0, 120.0)  # "How Lambda handles errors and retries with asynchronous invocation": two retries, the default
EVENT_BACKOFF_MIN_S = 1.0  # "How Lambda handles errors and retries with asynchronous invocation": after a throttle or a system error ...
EVENT_BACKOFF_MAX_S = 300.0  # "How Lambda handles errors and retries with asynchronous invocation": ... up to five minutes
RECURSIONS_MAX = 16  # "Use Lambda recursive loop detection to prevent infinite loops": invocations of a function in one chain of requests
EVENT_SOURCE_FILTERS_MAX = 10  # "Lambda event filtering": filters of a mapping, as far as the default of five can be raised
EVENT_SOURCE_PAGE_ITEMS = 100  # Lambda API reference, "ListEventSourceMappings": MaxItems, of which no answer has more
FIFO_BATCH_MAX = 10  # Lambda API reference, "CreateEventSourceMapping": of a FIFO queue, and of a standard one without a batching window
RECORD_AGE_MIN_S = 60  # Lambda API reference, "EventSourceMappingConfiguration": MaximumRecordAgeInSeconds, unless it is -1
SQS_POLLERS_MIN = 2  # Lambda API reference, "ProvisionedPollerConfig": MinimumPollers of a queue
POLLERS_DEFAULT = 200  # Lambda API reference, "ProvisionedPollerConfig": MaximumPollers
KAFKA_POLLERS_MAX = 2_000  # Lambda API reference, "ProvisionedPollerConfig": MaximumPollers of Kafka
REQUEST_PRICE_USD = 0.20 / 1_000_000  # AWS, "AWS Lambda Pricing": us-east-1
GB_SECOND_PRICE_USD = 0.0000166667  # AWS, "AWS Lambda Pricing": us-east-1, x86_64, the first tier

# --- environments -----------------------------------------------------------------------------------------------------

EXTENSIONS_MAX = 10  # Runtime Interface Emulator, "core.MaxAgentsAllowed": extensions of a function, external and internal ones together
TELEMETRY_ITEMS_MIN = 1_000  # "Lambda Telemetry API reference": maxItems; the default, too
TELEMETRY_ITEMS_MAX = 10_000  # "Lambda Telemetry API reference": maxItems; the default of the Logs API
TELEMETRY_BYTES_MIN = 262_144  # "Lambda Telemetry API reference": maxBytes; the default, too
TELEMETRY_BYTES_MAX = 1_048_576  # "Lambda Telemetry API reference": maxBytes
TELEMETRY_TIMEOUT_MIN_MS = 25  # "Lambda Telemetry API reference": timeoutMs
TELEMETRY_TIMEOUT_MAX_MS = 30_000  # "Lambda Telemetry API reference": timeoutMs
TELEMETRY_TIMEOUT_DEFAULT_MS = 1_000  # "Lambda Telemetry API reference": timeoutMs
SHUTDOWN_INTERNAL_S = 0.5  # "Understanding the Lambda execution environment lifecycle": the shutdown phase with internal extensions only
SHUTDOWN_EXTERNAL_S = 2.0  # "Understanding the Lambda execution environment lifecycle": the shutdown phase with external extensions
INIT_TIMEOUT_S = 10.0  # "Understanding the Lambda execution environment lifecycle": the init phase
LONG_INIT_TIMEOUT_S = 130.0  # "Understanding the Lambda execution environment lifecycle": provisioned, or with SnapStart
RESTORE_TIMEOUT_S = 10.0  # "Implement code before or after Lambda function snapshots": hooks after a restore
SNAP_START_TMP_MAX_MB = 512  # "Improving startup performance with Lambda SnapStart": ephemeral storage
PROVISIONED_INIT_ATTEMPTS = 6  # Lambda API, "PutProvisionedConcurrencyConfig": inits until the allocation has failed, as recorded
PROCESSES_MAX = 1_024  # "Lambda quotas": execution processes and threads
CPU_PERIOD_US = 20_000  # Lambda itself, "cpu.cfs_period_us": as recorded inside a function
DNS_QUERIES_PER_S = 1_024.0  # Amazon VPC user guide, "DNS attributes for your VPC": packets of one network interface

# --- CloudWatch Logs --------------------------------------------------------------------------------------------------

FUNCTION_LOG_LINE_BYTES = 256 * 1024  # CloudWatch Logs user guide, "CloudWatch Logs quotas": event size, as Lambda cuts lines
LOG_EVENT_BYTES = 1024 * 1024  # CloudWatch Logs user guide, "CloudWatch Logs quotas": event size
LOG_BATCH_BYTES = 1024 * 1024  # CloudWatch Logs API reference, "PutLogEvents": messages in UTF-8, and for each event ...
LOG_EVENT_OVERHEAD_BYTES = 26  # CloudWatch Logs API reference, "PutLogEvents": ... so much
LOG_BATCH_SPAN_MS = 24 * 3_600_000  # CloudWatch Logs API reference, "PutLogEvents": from the first event of a batch to its last
LOG_EVENT_FUTURE_MS = 2 * 3_600_000  # CloudWatch Logs API reference, "PutLogEvents": none is further ahead
LOG_EVENT_AGE_MS = 14 * 86_400_000  # CloudWatch Logs API reference, "PutLogEvents": none is older
LOG_PAGE_BYTES = 1024 * 1024  # CloudWatch Logs API reference, "FilterLogEvents": of one answer
LOG_PAGE_EVENTS = 10_000  # CloudWatch Logs API reference, "FilterLogEvents": of one answer
LOG_REQUEST_BYTES = 3 * 1024 * 1024  # CloudWatch Logs API reference, "PutLogEvents": a batch of 1 MB in JSON, with escaped characters
LOG_GROUP_TAGS_MAX = 50  # CloudWatch Logs API reference, "TagResource": tags of a log group
LIVE_TAIL_SESSIONS_MAX = 15  # CloudWatch Logs user guide, "CloudWatch Logs quotas": concurrent Live Tail sessions
LIVE_TAIL_EVENTS = 500  # CloudWatch Logs API reference, "StartLiveTail": of one update; it is made of a sample of more
LIVE_TAIL_INTERVAL_S = 1.0  # CloudWatch Logs API reference, "StartLiveTail": every second there is an update
LIVE_TAIL_SESSION_S = 3 * 3_600.0  # CloudWatch Logs API reference, "StartLiveTail": then a session times out
LOG_RETENTION_DAYS = (  # CloudWatch Logs API reference, "PutRetentionPolicy": retentionInDays
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

# --- IAM, STS and signatures ------------------------------------------------------------------------------------------

ATTACHED_POLICIES_MAX = 10  # IAM user guide, "IAM and AWS STS quotas": managed policies of a role, a user, a group
ROLE_INLINE_POLICIES_CHARS = 10_240  # IAM user guide, "IAM and AWS STS quotas": of a role, all together, without white space
USER_INLINE_POLICIES_CHARS = 2_048  # IAM user guide, "IAM and AWS STS quotas": of a user, likewise
GROUP_INLINE_POLICIES_CHARS = 5_120  # IAM user guide, "IAM and AWS STS quotas": of a group, likewise
ROLE_TRUST_POLICY_CHARS = 2_048  # IAM user guide, "IAM and AWS STS quotas": role trust policy length
MANAGED_POLICY_CHARS = 6_144  # IAM user guide, "IAM and AWS STS quotas": of one version, without white space
MANAGED_POLICY_VERSIONS_MAX = 5  # IAM user guide, "IAM and AWS STS quotas": versions of a managed policy
IAM_TAGS_MAX = 50  # IAM user guide, "IAM and AWS STS quotas": tags of a role, a user, a policy, an instance profile
USER_ACCESS_KEYS_MAX = 2  # IAM user guide, "IAM and AWS STS quotas": access keys of a user
USER_GROUPS_MAX = 10  # IAM user guide, "IAM and AWS STS quotas": groups that a user is in
IAM_PAGE_ITEMS = 100  # IAM API reference, "ListRoles": MaxItems, where none is given
SESSION_POLICY_CHARS = 2_048  # STS API reference, "AssumeRole": Policy
ENVIRONMENT_CREDENTIALS_S = 43_200  # IAM user guide, "Methods to assume a role": twelve hours, the longest session of a role
CHAINED_SESSION_MAX_S = 3_600  # IAM user guide, "Methods to assume a role": role chaining
SIGNATURE_SKEW_S = 300  # IAM user guide, "Elements of an AWS API request signature": five minutes of its time
PRESIGNED_MAX_S = 604_800  # IAM user guide, "Elements of an AWS API request signature": seven days of X-Amz-Expires
