"""The table of Lambda's operations: target, action, handler and body of each. `python -m hanabi.services` prints it."""

from collections.abc import Mapping
from typing import Any

from hanabi.edge.service import Operation
from hanabi.services.lambda_.aliases import AliasOperations
from hanabi.services.lambda_.bodies import CODE, EVENT, PAYLOAD
from hanabi.services.lambda_.code_signing import CodeSigningOperations
from hanabi.services.lambda_.concurrency import ConcurrencyOperations
from hanabi.services.lambda_.event_configs import EventConfigOperations
from hanabi.services.lambda_.event_source_mappings import MappingOperations, MappingTargets
from hanabi.services.lambda_.functions import FunctionOperations
from hanabi.services.lambda_.invoke import InvokeOperations
from hanabi.services.lambda_.layer_targets import LayerTargets
from hanabi.services.lambda_.layers import LayerOperations
from hanabi.services.lambda_.policies import PolicyOperations
from hanabi.services.lambda_.provisioned import ProvisionedOperations
from hanabi.services.lambda_.resource_targets import ResourceTargets
from hanabi.services.lambda_.tags import TagOperations
from hanabi.services.lambda_.targets import FunctionTargets
from hanabi.services.lambda_.urls import UrlOperations
from hanabi.services.lambda_.versions import VersionOperations


def operations(
    on: FunctionTargets,
    on_layer: LayerTargets,
    on_resource: ResourceTargets,
    on_mapping: MappingTargets,
    aliases: AliasOperations,
    code_signing: CodeSigningOperations,
    concurrency: ConcurrencyOperations,
    event_configs: EventConfigOperations,
    functions: FunctionOperations,
    invocations: InvokeOperations,
    layers: LayerOperations,
    mappings: MappingOperations,
    policies: PolicyOperations,
    provisioned: ProvisionedOperations,
    tags: TagOperations,
    urls: UrlOperations,
    versions: VersionOperations,
) -> Mapping[str, Operation[Any]]:
    return {
        "AddLayerVersionPermission": on_layer.version("AddLayerVersionPermission", layers.add_layer_version_permission),
        "AddPermission": on.qualifier("AddPermission", policies.add_permission),
        "CreateAlias": on.function("CreateAlias", aliases.create_alias),
        "CreateCodeSigningConfig": on.account("CreateCodeSigningConfig", code_signing.create_config),
        "CreateEventSourceMapping": on_mapping.new_mapping("CreateEventSourceMapping", mappings.create_event_source_mapping),
        "CreateFunction": on.new_function("CreateFunction", functions.create_function, CODE),
        "CreateFunctionUrlConfig": on.function_or_alias("CreateFunctionUrlConfig", urls.create_function_url_config),
        "DeleteAlias": on.function("DeleteAlias", aliases.delete_alias),
        "DeleteCodeSigningConfig": on_resource.code_signing("DeleteCodeSigningConfig", code_signing.delete_config),
        "DeleteEventSourceMapping": on_mapping.mapping("DeleteEventSourceMapping", mappings.delete_event_source_mapping),
        "DeleteFunction": on.function_or_qualifier("DeleteFunction", functions.delete_function),
        "DeleteFunctionCodeSigningConfig": on.function("DeleteFunctionCodeSigningConfig", code_signing.delete_function_config),
        "DeleteFunctionConcurrency": on.function("DeleteFunctionConcurrency", concurrency.delete_function_concurrency),
        "DeleteFunctionEventInvokeConfig": on.function_or_qualifier("DeleteFunctionEventInvokeConfig", event_configs.delete_event_config),
        "DeleteFunctionUrlConfig": on.function_or_alias("DeleteFunctionUrlConfig", urls.delete_function_url_config),
        "DeleteLayerVersion": on_layer.version("DeleteLayerVersion", layers.delete_layer_version),
        "DeleteProvisionedConcurrencyConfig": on.qualifier("DeleteProvisionedConcurrencyConfig", provisioned.delete_provisioned),
        "DeleteResourcePolicy": on_resource.policy("DeleteResourcePolicy", policies.delete_resource_policy),
        "GetAccountSettings": on.account("GetAccountSettings", concurrency.get_account_settings),
        "GetAlias": on.function("GetAlias", aliases.get_alias),
        "GetCodeSigningConfig": on_resource.code_signing("GetCodeSigningConfig", code_signing.get_config),
        "GetEventSourceMapping": on_mapping.mapping("GetEventSourceMapping", mappings.get_event_source_mapping),
        "GetFunction": on.function_or_qualifier("GetFunction", functions.get_function),
        "GetFunctionCodeSigningConfig": on.function("GetFunctionCodeSigningConfig", code_signing.get_function_config),
        "GetFunctionConcurrency": on.function_or_qualifier("GetFunctionConcurrency", concurrency.get_function_concurrency),
        "GetFunctionConfiguration": on.function_or_qualifier("GetFunctionConfiguration", functions.get_function_configuration),
        "GetFunctionEventInvokeConfig": on.function_or_qualifier("GetFunctionEventInvokeConfig", event_configs.get_event_config),
        "GetFunctionRecursionConfig": on.function("GetFunctionRecursionConfig", functions.get_function_recursion_config),
        "GetFunctionUrlConfig": on.function_or_alias("GetFunctionUrlConfig", urls.get_function_url_config),
        "GetLayerVersion": on_layer.version("GetLayerVersion", layers.get_layer_version),
        "GetLayerVersionByArn": on_layer.version_arn("GetLayerVersion", layers.get_layer_version),
        "GetLayerVersionPolicy": on_layer.version("GetLayerVersionPolicy", layers.get_layer_version_policy),
        "GetPolicy": on.qualifier("GetPolicy", policies.get_policy),
        "GetProvisionedConcurrencyConfig": on.qualifier("GetProvisionedConcurrencyConfig", provisioned.get_provisioned),
        "GetResourcePolicy": on_resource.policy("GetResourcePolicy", policies.get_resource_policy),
        "GetRuntimeManagementConfig": on.function_or_qualifier("GetRuntimeManagementConfig", functions.get_runtime_management_config),
        "Invoke": on.qualifier("InvokeFunction", invocations.invoke, PAYLOAD, invocations.begin_invoke),
        "InvokeAsync": on.qualifier("InvokeFunction", invocations.invoke_async, EVENT),
        "InvokeWithResponseStream": on.qualifier("InvokeFunction", invocations.invoke_with_response_stream, PAYLOAD),
        "ListAliases": on.function("ListAliases", aliases.list_aliases),
        "ListCodeSigningConfigs": on.account("ListCodeSigningConfigs", code_signing.list_configs),
        "ListEventSourceMappings": on_mapping.list_of_function("ListEventSourceMappings", mappings.list_event_source_mappings),
        "ListFunctionEventInvokeConfigs": on.function_or_qualifier("ListFunctionEventInvokeConfigs", event_configs.list_event_configs),
        "ListFunctionUrlConfigs": on.function_or_alias("ListFunctionUrlConfigs", urls.list_function_url_configs),
        "ListFunctions": on.account("ListFunctions", functions.list_functions),
        "ListFunctionsByCodeSigningConfig": on_resource.code_signing("ListFunctionsByCodeSigningConfig", code_signing.list_functions),
        "ListLayerVersions": on_layer.listed_layer("ListLayerVersions", layers.list_layer_versions),
        "ListLayers": on.account("ListLayers", layers.list_layers),
        "ListProvisionedConcurrencyConfigs": on.function_or_qualifier("ListProvisionedConcurrencyConfigs", provisioned.list_provisioned),
        "ListTags": on_resource.tagged("ListTags", tags.list_tags),
        "ListVersionsByFunction": on.function("ListVersionsByFunction", versions.list_versions_by_function),
        "PublishLayerVersion": on_layer.layer("PublishLayerVersion", layers.publish_layer_version, CODE),
        "PublishVersion": on.function("PublishVersion", versions.publish_version),
        "PutFunctionCodeSigningConfig": on_resource.function_and_code_signing(
            "PutFunctionCodeSigningConfig", code_signing.put_function_config
        ),
        "PutFunctionConcurrency": on.function("PutFunctionConcurrency", concurrency.put_function_concurrency),
        "PutFunctionEventInvokeConfig": on.event_config("PutFunctionEventInvokeConfig", event_configs.put_event_config),
        "PutFunctionRecursionConfig": on.function("PutFunctionRecursionConfig", functions.put_function_recursion_config),
        "PutProvisionedConcurrencyConfig": on.qualifier("PutProvisionedConcurrencyConfig", provisioned.put_provisioned),
        "PutResourcePolicy": on_resource.policy("PutResourcePolicy", policies.put_resource_policy),
        "PutRuntimeManagementConfig": on.function_or_qualifier("PutRuntimeManagementConfig", functions.put_runtime_management_config),
        "RemoveLayerVersionPermission": on_layer.version("RemoveLayerVersionPermission", layers.remove_layer_version_permission),
        "RemovePermission": on.qualifier("RemovePermission", policies.remove_permission),
        "TagResource": on_resource.tagged("TagResource", tags.tag_resource),
        "UntagResource": on_resource.tagged("UntagResource", tags.untag_resource),
        "UpdateAlias": on.function("UpdateAlias", aliases.update_alias),
        "UpdateCodeSigningConfig": on_resource.code_signing("UpdateCodeSigningConfig", code_signing.update_config),
        "UpdateEventSourceMapping": on_mapping.changed_mapping("UpdateEventSourceMapping", mappings.update_event_source_mapping),
        "UpdateFunctionCode": on.function("UpdateFunctionCode", functions.update_function_code, CODE),
        "UpdateFunctionConfiguration": on.function_configuration("UpdateFunctionConfiguration", functions.update_function_configuration),
        "UpdateFunctionEventInvokeConfig": on.event_config("UpdateFunctionEventInvokeConfig", event_configs.update_event_config),
        "UpdateFunctionUrlConfig": on.function_or_alias("UpdateFunctionUrlConfig", urls.update_function_url_config),
    }
