"""The model: immutable values of functions, versions, aliases and URLs, and their stored form.

A change makes new objects (`dataclasses.replace`); the registry writes them and replaces the old ones.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hanabi.control.arns import LATEST
from hanabi.quotas import MEMORY_DEFAULT_MB, TMP_MIN_MB

CREATING = "The function is being created."
UPDATE_MODES = (AUTO, FUNCTION_UPDATE, MANUAL) = ("Auto", "FunctionUpdate", "Manual")  # UpdateRuntimeOn


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedLayer:
    """A layer version as a function has it. It stays with the function when the layer version is deleted."""

    arn: str
    sha256: str  # of the zip, base64, by which the code store has it
    size: int  # of the zip, bytes
    unzipped_size: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSettings:
    """The settings of a function, defaults filled in."""

    runtime: str
    handler: str
    role: str
    log_group: str
    description: str = ""
    memory_mb: int = MEMORY_DEFAULT_MB
    timeout_s: int = 3
    tmp_mb: int = TMP_MIN_MB
    environment: Mapping[str, str] | None = None  # None: never given, which the API shows
    package: str = "Zip"  # or "Image", which has neither runtime nor handler
    image_config: Mapping[str, Any] | None = None  # an ImageConfig: what there is of it
    snap_start: bool = False  # SnapStart.ApplyOn PublishedVersions
    log_format: str = "Text"  # or "JSON", which has both levels
    application_log_level: str = ""
    system_log_level: str = ""
    tenancy: str = ""  # or "PER_TENANT": TenancyConfig
    layers: tuple[AttachedLayer, ...] = ()  # the later ones over the earlier ones
    traced: bool = False  # TracingConfig.Mode Active
    dead_letters: str = ""  # DeadLetterConfig.TargetArn
    key: str = ""  # KMSKeyArn
    vpc: Mapping[str, Any] | None = None  # a VpcConfigResponse; None: never given
    file_systems: Mapping[str, str] = field(default_factory=dict)  # LocalMountPath -> ARN

    @property
    def layer_hashes(self) -> tuple[str, ...]:
        return tuple(layer.sha256 for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A code package in the code store, or a container image."""

    sha256: str  # of the zip, base64, by which the code store has it; of an image's manifest, hexadecimal
    size: int  # of the zip; 0 for an image, as Lambda has it
    image_uri: str = ""  # as it was given
    image: str = ""  # where it is, by digest
    signing_profile: str = ""  # the ARN of the version of the signing profile that signed it, where that was checked
    signing_job: str = ""  # and of the job
    object: Mapping[str, str] | None = None  # a ResolvedS3Object: of code that refers to S3
    source_key: str = ""  # SourceKMSKeyArn

    @property
    def key(self) -> str:
        """The identity of the code."""
        return self.image or self.sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """`$LATEST` or a published version."""

    number: str
    settings: FunctionSettings
    code: Code
    modified_ms: int
    generation: str  # new with every change that environments must see
    fingerprint: str  # of settings and code as they were in $LATEST: whether publishing has something to publish
    revision_id: str
    runtime_arn: str | None = None
    state: str = "Pending"
    state_reason: str | None = CREATING
    state_code: str | None = "Creating"
    update: str | None = None
    update_reason: str | None = None
    update_code: str | None = None
    snapshot: str = ""  # of a published version with SnapStart: its name
    runtime_update: str = AUTO  # one of `UPDATE_MODES`
    runtime_pin: str = ""  # with "Manual": the ARN of the only runtime version that it runs on
    lost: bool = False  # it is Failed because its code or image is not there, until that comes back

    @property
    def code_hashes(self) -> tuple[str, ...]:
        """What it has in the code store: its zip and its layers'; an image is elsewhere."""
        return () if self.code.image else (self.code.sha256, *self.settings.layer_hashes)

    @property
    def needs(self) -> tuple[str, ...]:
        """What must be there for it to run: its image, or what it has in the code store."""
        return self.code_hashes or (self.code.key,)

    @property
    def awaits_snapshot(self) -> bool:
        """Whether it is a published SnapStart version that only lacks its snapshot."""
        return self.number != LATEST and self.settings.snap_start and self.state == "Pending" and self.runtime_arn is not None

    @property
    def settled(self) -> bool:
        return self.state == "Active" and self.update == "Successful"

    def ready(self, runtime_arn: str | None) -> "Version":
        return replace(
            self,
            revision_id=new_id(),
            runtime_arn=runtime_arn,
            state="Active",
            state_reason=None,
            state_code=None,
            update="Successful",
            update_reason=None,
            update_code=None,
            lost=False,
        )

    def prepared(self, runtime_arn: str | None) -> "Version":
        """Return it ready; a published SnapStart version awaits its snapshot first."""
        if self.number != LATEST and self.settings.snap_start and self.state == "Pending":
            return replace(self, revision_id=new_id(), runtime_arn=runtime_arn)
        return self.ready(runtime_arn)

    def optimized(self, snapshot: str, reason: str) -> "Version":
        """Return it with its snapshot; an empty name: none, for the reason, so its environments run the init as usual."""
        return replace(self.ready(self.runtime_arn), snapshot=snapshot, state_reason=reason or None)

    def lose(self, code: str, reason: str) -> "Version":
        """Return it failed: its code or image is missing."""
        return replace(self, revision_id=new_id(), state="Failed", state_reason=reason, state_code=code, lost=True)

    def found(self) -> "Version":
        """Return it active: its code or image is back."""
        found = self.ready(self.runtime_arn)
        if self.update_reason == self.state_reason:  # an update failed for the same reason
            return found
        return replace(found, update=self.update, update_reason=self.update_reason, update_code=self.update_code)

    def failed(self, code: str, reason: str) -> "Version":
        """Return it failed. After a failed update it keeps its state."""
        if self.state == "Active":
            return replace(self, revision_id=new_id(), update="Failed", update_reason=reason, update_code=code)
        return replace(
            self,
            revision_id=new_id(),
            state="Failed",
            state_reason=reason,
            state_code=code,
            update="Failed",
            update_reason=reason,
            update_code=code,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    name: str
    version: str
    description: str
    revision_id: str
    other: str | None = None  # the second version of a weighted alias
    weight: float = 0.0  # and its share


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """A function URL: of `$LATEST` (qualifier None) or of an alias."""

    id: str
    function: str
    qualifier: str | None
    auth_type: str
    cors: Mapping[str, Any] | None
    created_ms: int
    modified_ms: int
    invoke_mode: str | None = None  # None, as "BUFFERED": it was never given

    @property
    def streams(self) -> bool:
        return self.invoke_mode == "RESPONSE_STREAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedConfig:
    """Provisioned concurrency as a user asked for it, of a published version or an alias."""

    qualifier: str
    requested: int
    modified_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventConfig:
    """How the asynchronous invocations of a qualifier are tried, and where their results go. None: Lambda's default, or nowhere."""

    qualifier: str  # of `$LATEST`, a published version or an alias
    modified_ms: int
    retries: int | None = None  # after errors of the function
    age_s: int | None = None  # of an event, at most
    on_success: str | None = None  # the ARN of a destination
    on_failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    id: str  # of this function: one deleted and created again has another
    name: str
    arn: str
    latest: Version
    serving: Version | None = None  # what `$LATEST` still runs while `latest` is prepared, or after that has failed
    versions: Mapping[str, Version] = field(default_factory=dict)  # published ones, by number, in order
    last_version: int = 0  # numbers are never used twice
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    urls: Mapping[str, Url] = field(default_factory=dict)  # by qualifier, $LATEST for none
    policies: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)  # statements by qualifier
    policy_ids: Mapping[str, str] = field(default_factory=dict)  # of policies that were put with another Id than AddPermission's
    tags: Mapping[str, str] = field(default_factory=dict)
    reserved: int | None = None
    provisioned: Mapping[str, ProvisionedConfig] = field(default_factory=dict)  # by qualifier
    event_configs: Mapping[str, EventConfig] = field(default_factory=dict)  # by qualifier
    may_recurse: bool = False  # RecursiveLoop is Allow
    code_signing: str = ""  # the ARN of its code signing configuration

    def version(self, number: str) -> Version | None:
        return self.latest if number == LATEST else self.versions.get(number)

    def all_versions(self) -> list[Version]:
        """All versions, including what `$LATEST` still runs."""
        return [self.latest, *([self.serving] if self.serving else []), *self.versions.values()]

    def running(self) -> list[Version]:
        """The versions that invocations may run."""
        return [self.serving or self.latest, *self.versions.values()]

    def key(self, version: Version) -> str:
        """`FunctionVersion.key`."""
        return f"{self.id}:{version.number}:{version.generation}"


def new_id() -> str:
    return str(uuid.uuid4())


# What every function had before it could be set: left out, so that versions published then are not new.
_UNSAID: tuple[tuple[str, Any], ...] = (
    ("package", "Zip"),
    ("image_config", None),
    ("snap_start", False),
    ("log_format", "Text"),
    ("application_log_level", ""),
    ("system_log_level", ""),
    ("layers", ()),
    ("traced", False),
    ("dead_letters", ""),
    ("key", ""),
    ("tenancy", ""),
    ("vpc", None),
    ("file_systems", {}),
)


def fingerprint(settings: FunctionSettings, code: Code) -> str:
    said = {name: value for name, value in asdict(settings).items() if (name, value) not in _UNSAID}
    text = json.dumps([said, code.sha256], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def version_document(function: Function, version: Version) -> dict[str, Any]:
    return {"function": function.id, **_version_values(version)}


def function_document(function: Function) -> dict[str, Any]:
    """Make the document of a function. Published versions have their own documents; their numbers are listed here."""
    return {
        "id": function.id,
        "latest": _version_values(function.latest),
        "serving": _version_values(function.serving) if function.serving else None,
        "versions": list(function.versions),
        "last_version": function.last_version,
        "aliases": [asdict(alias) for alias in function.aliases.values()],
        "urls": [asdict(url) for url in function.urls.values()],
        "policies": {qualifier: list(statements) for qualifier, statements in function.policies.items()},
        "policy_ids": dict(function.policy_ids),
        "tags": dict(function.tags),
        "reserved": function.reserved,
        "provisioned": [asdict(config) for config in function.provisioned.values()],
        "event_configs": [asdict(config) for config in function.event_configs.values()],
        "may_recurse": function.may_recurse,
        "code_signing": function.code_signing,
    }


def _version_values(version: Version) -> dict[str, Any]:
    return asdict(version)
