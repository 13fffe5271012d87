"""Creates, updates and deletes functions: checks the parameters, stores the code, changes the registry."""

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from hanabi.control import versions
from hanabi.control.attachments import Attachments
from hanabi.control.code_signing.code_admission import CodeAdmission
from hanabi.control.code_sources import CodeSources
from hanabi.control.containers import IMAGE, Containers, check_source, refusal
from hanabi.control.dependencies import Runtimes
from hanabi.control.functions import Functions
from hanabi.control.layers.attachment import LayerAttachment
from hanabi.control.model import AttachedLayer, Code, Function, FunctionSettings, new_id
from hanabi.control.recent_updates import RecentUpdates
from hanabi.control.settings import change_settings, make_settings, refuse_unsupported
from hanabi.control.tags import check_tags
from hanabi.errors import ImageError, InvalidParameterValue, ResourceConflict
from hanabi.images.runtimes.names import refusal as runtime_refusal


class Deployment:
    """The deployment. Changes are on disk when a method returns. Without `containers`, code is zips only."""

    def __init__(
        self,
        functions: Functions,
        layers: LayerAttachment,
        sources: CodeSources,
        runtimes: Runtimes,
        containers: Containers | None,
        recent: RecentUpdates,
        signing: CodeAdmission,
        attachments: Attachments,
    ) -> None:
        self._functions = functions
        self._layers = layers
        self._sources = sources
        self._runtimes = runtimes
        self._containers = containers
        self._recent = recent
        self._signing = signing
        self._attachments = attachments
        self._uploads: list[str] = []  # SHA-256 of code that is stored, and about to be referenced

    @property
    def uploads(self) -> Set[str]:
        """The hashes of stored code that no function has yet."""
        return set(self._uploads)

    async def create(self, name: str, params: Mapping[str, Any], caller: str = "") -> Function:
        """Create a function. `params` are CreateFunction's. It is pending, and so is its version 1 if published. `caller`: an ARN."""
        settings = self._attachments.attach(make_settings(name, params), params)
        refuse_unsupported(params["Code"])
        await self._check_available(params)
        tags = check_tags(params.get("Tags") or {})
        self._refuse_damaged(name)
        signing = self._read_signing(params, settings.package)
        settings = replace(settings, layers=await self._layers.find(params, caller) or ())  # what is wrong with them is said first
        _refuse_existing(self._functions.get(name))
        code = await self._check_code(await self._take_code(params["Code"], settings.package), settings, signing, name)

        def make(old: Function | None) -> Function:
            _refuse_existing(old)
            latest = versions.make_latest(settings, code, self._functions.now_ms())
            function = Function(
                id=new_id(), name=name, arn=self._functions.account_region.arn(name), latest=latest, tags=tags, code_signing=signing
            )
            return versions.publish(function, unnumbered=bool(params.get("PublishTo"))) if versions.publishes(params) else function

        return await self._replace(name, make, code)

    async def update_code(self, name: str, params: Mapping[str, Any]) -> Function:
        """Update the code. `params` are UpdateFunctionCode's."""
        function = self._find_updatable(name, params.get("RevisionId"))
        check_source(params, function.latest.settings.package)
        refuse_unsupported(params)
        code = await self._take_code(params, function.latest.settings.package)
        code = await self._check_code(code, function.latest.settings, function.code_signing, name)
        if params.get("DryRun"):
            self._release_code(code)
            return replace(function, latest=replace(function.latest, code=code))

        def update(old: Function | None) -> Function:
            old = versions.check_updatable(old or self._functions.find(name), params.get("RevisionId"))
            check_source(params, old.latest.settings.package)  # it may be another function of that name by now
            function = versions.update(old, self._functions.now_ms(), code=code)
            return versions.publish(function, unnumbered=bool(params.get("PublishTo"))) if versions.publishes(params) else function

        return await self._replace(name, update, code)

    async def update_settings(self, name: str, params: Mapping[str, Any], caller: str = "") -> Function:
        """Update the settings. `params` are UpdateFunctionConfiguration's. `caller`: an ARN."""
        function = self._find_updatable(name, params.get("RevisionId"))
        settings = change_settings(function.latest.settings, params)  # what is wrong with them is said before layers are looked for
        self._attachments.attach(settings, params)
        layers = await self._layers.find(params, caller)
        await self._layers.check_size(function.latest.code, layers or ())
        await self._check_layers(layers or (), function.code_signing)

        def update(old: Function) -> Function:
            versions.check_updatable(old, params.get("RevisionId"))
            settings = self._attachments.attach(change_settings(old.latest.settings, params), params)
            if layers is not None:
                settings = replace(settings, layers=layers)
            return versions.update(old, self._functions.now_ms(), settings=settings)

        await self._check_available(params)
        return await self._functions.change(name, update)

    async def delete(self, name: str) -> None:
        """Delete a function with all its versions. The documents of a damaged one are quarantined, not removed."""
        if name in self._functions.damaged:
            await self._functions.quarantine(name)
            return
        self._functions.find(name)
        await self._functions.commit(name, lambda old: None)

    def _find_updatable(self, name: str, revision_id: str | None) -> Function:
        function = self._functions.find(name)
        self._recent.refuse(function)
        return versions.check_updatable(function, revision_id)

    def _refuse_damaged(self, name: str) -> None:
        damaged = self._functions.damaged.get(name)
        if damaged is not None:
            raise ResourceConflict(f"Function already exist: {name}. {damaged} DeleteFunction quarantines it and frees the name.")

    async def _check_available(self, params: Mapping[str, Any]) -> None:
        """Refuse a runtime of Lambda's that this host cannot run."""
        runtime = params.get("Runtime") or ""
        if runtime and not runtime_refusal(runtime) and (reason := await self._runtimes.why_unavailable(runtime)):
            raise InvalidParameterValue(f"The runtime {runtime} cannot run here: {reason}")

    def _read_signing(self, params: Mapping[str, Any], package: str) -> str:
        """Read the ARN of the code signing configuration of a new function, which must be there."""
        signing = params.get("CodeSigningConfigArn") or ""
        if signing and package == IMAGE:
            raise InvalidParameterValue("Code signing is not supported for functions created with container images.")
        if signing:
            self._signing.require(signing)
        return signing

    async def _check_code(self, code: Code, settings: FunctionSettings, signing: str, name: str) -> Code:
        """Check the size of stored code with its layers, and all signatures if there is a code signing configuration."""
        try:
            await self._layers.check_size(code, settings.layers)
            if not signing:
                return code
            signature = await self._signing.admit(signing, name, code.sha256)
            await self._check_layers(settings.layers, signing)
            return replace(code, signing_profile=signature.profile, signing_job=signature.job) if signature else code
        except BaseException:
            self._release_code(code)
            raise

    async def _check_layers(self, layers: Sequence[AttachedLayer], signing: str) -> None:
        """Check the signatures of layers, if there is a code signing configuration."""
        for layer in layers if signing else ():
            await self._signing.admit(signing, layer.arn, layer.sha256)

    # --- code ---------------------------------------------------------------------------------------------------------

    async def _take_code(self, given: Mapping[str, Any], package: str) -> Code:
        """Store the code. It counts as referenced until the change that uses it has ended."""
        if package == IMAGE:
            if given.get("ZipFile") or given.get("S3Bucket"):
                raise InvalidParameterValue("Please provide ImageUri only when the intended function PackageType is Image.")
            return await self._find_image(given.get("ImageUri"))
        if given.get("ZipFile") and given.get("ImageUri"):
            raise InvalidParameterValue("Please do not provide other FunctionCode parameters when providing a ZipFile.")
        received = await self._sources.receive(given, "Please provide a source for function code.")
        self._uploads.append(received.sha256)
        return Code(sha256=received.sha256, size=received.size, object=received.object, source_key=given.get("SourceKMSKeyArn") or "")

    async def _find_image(self, uri: str | None) -> Code:
        """Resolve the image's tag, once: versions keep their image."""
        if not uri:
            raise InvalidParameterValue("Please provide a source for function code.")
        if self._containers is None:
            raise InvalidParameterValue("PackageType Image is not supported with --isolation process: there is nothing to run an image in")
        try:
            pinned = await self._containers.resolve(uri)
        except ImageError as error:
            raise refusal(uri, error) from None
        return Code(sha256=pinned.digest, size=0, image_uri=uri, image=pinned.image)

    async def _replace(self, name: str, change: Callable[[Function | None], Function], code: Code) -> Function:
        task = self._functions.begin(name, change)
        task.add_done_callback(lambda task: self._release_code(code))
        function = await asyncio.shield(task)
        assert function is not None
        return function

    def _release_code(self, code: Code) -> None:
        if not code.image:
            self._uploads.remove(code.sha256)


def _refuse_existing(function: Function | None) -> None:
    if function is not None:
        raise ResourceConflict(f"Function already exist: {function.name}")
