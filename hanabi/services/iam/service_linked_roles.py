"""Operations on service-linked roles. Nothing here runs as one: they are made and deleted for the tools that want them."""

import json
import uuid
from typing import Any

from hanabi.base.clock import Clock
from hanabi.edge.auth.keys import role_id
from hanabi.edge.auth.managed_policies import PREFIX
from hanabi.edge.service import Call
from hanabi.services.iam.directory import Directory
from hanabi.services.iam.entities import Entity, EntityTarget
from hanabi.services.iam.errors import InvalidInput, NoSuchEntity
from hanabi.services.iam.roles import LINKED_PATH, describe_role

# One a line: what is before ".amazonaws.com", what is after "AWSServiceRoleFor", the policy.
_NAMES = """
accountdiscovery.ssm AmazonSSM_AccountDiscovery AWSSystemsManagerAccountDiscoveryServicePolicy
acm CertificateManager CertificateManagerServiceRolePolicy
appmesh AppMesh AWSAppMeshServiceRolePolicy
autoscaling AutoScaling AutoScalingServiceRolePolicy
autoscaling-plans AutoScalingPlans_EC2AutoScaling AWSAutoScalingPlansEC2AutoScalingPolicy
backup Backup AWSBackupServiceLinkedRolePolicyForBackup
batch Batch BatchServiceRolePolicy
cassandra.application-autoscaling ApplicationAutoScaling_CassandraTable AWSApplicationAutoscalingCassandraTablePolicy
cks.kms KeyManagementServiceCustomKeyStores AWSKeyManagementServiceCustomKeyStoresServiceRolePolicy
cloudtrail CloudTrail CloudTrailServiceRolePolicy
codestar-notifications CodeStarNotifications AWSCodeStarNotificationsServiceRolePolicy
config Config AWSConfigServiceRolePolicy
connect AmazonConnect AmazonConnectServiceLinkedRolePolicy
dms DMSServerless AWSDMSServerlessServiceRolePolicy
dms-fleet-advisor DMSFleetAdvisor AWSDMSFleetAdvisorServiceRolePolicy
docdb-elastic DocDB-Elastic AmazonDocDB-ElasticServiceRolePolicy
dynamodb.application-autoscaling ApplicationAutoScaling_DynamoDBTable AWSApplicationAutoscalingDynamoDBTablePolicy
ec2-instance-connect Ec2InstanceConnect Ec2InstanceConnectEndpoint
ec2.application-autoscaling ApplicationAutoScaling_EC2SpotFleetRequest AWSApplicationAutoscalingEC2SpotFleetRequestPolicy
ecr ECRTemplate ECRTemplateServiceRolePolicy
ecs ECS AmazonECSServiceRolePolicy
eks AmazonEKS AmazonEKSServiceRolePolicy
eks-connector AmazonEKSConnector AmazonEKSConnectorServiceRolePolicy
eks-fargate AmazonEKSForFargate AmazonEKSForFargateServiceRolePolicy
eks-nodegroup AmazonEKSNodegroup AWSServiceRoleForAmazonEKSNodegroup
elasticache ElastiCache ElastiCacheServiceRolePolicy
elasticbeanstalk ElasticBeanstalk AWSElasticBeanstalkServiceRolePolicy
elasticfilesystem AmazonElasticFileSystem AmazonElasticFileSystemServiceRolePolicy
elasticloadbalancing ElasticLoadBalancing AWSElasticLoadBalancingServiceRolePolicy
email.cognito-idp AmazonCognitoIdpEmailService AmazonCognitoIdpEmailServiceRolePolicy
emr-containers AmazonEMRContainers AmazonEMRContainersServiceRolePolicy
emrwal EMRWAL EMRDescribeClusterPolicyForEMRWAL
events CloudWatchEvents CloudWatchEventsServiceRolePolicy
fis FIS AmazonFISServiceRolePolicy
grafana AmazonGrafana AmazonGrafanaServiceLinkedRolePolicy
imagebuilder ImageBuilder AWSServiceRoleForImageBuilder
iotmanagedintegrations IoTManagedIntegrations AWSIoTManagedIntegrationsRolePolicy
kafka Kafka KafkaServiceRolePolicy
kafkaconnect KafkaConnect KafkaConnectServiceRolePolicy
lakeformation LakeFormationDataAccess LakeFormationDataAccessServiceRolePolicy
lambda Lambda AWSLambdaManagedEC2ResourceOperator
lambda.application-autoscaling ApplicationAutoScaling_LambdaConcurrency AWSApplicationAutoscalingLambdaConcurrencyPolicy
lex LexBots AmazonLexBotPolicy
lexv2 LexV2Bots AmazonLexV2BotPolicy
lightsail Lightsail LightsailExportAccess
m2 AWSM2 AWSM2ServicePolicy
memorydb MemoryDB MemoryDBServiceRolePolicy
mq AmazonMQ AmazonMQServiceRolePolicy
mrk.kms KeyManagementServiceMultiRegionKeys AWSKeyManagementServiceMultiRegionKeysServiceRolePolicy
notifications AwsUserNotifications AWSUserNotificationsServiceLinkedRolePolicy
observability.aoss AmazonOpenSearchServerless AmazonOpenSearchServerlessServiceRolePolicy
opensearchservice AmazonOpenSearchService AmazonOpenSearchServiceRolePolicy
ops.apigateway APIGateway APIGatewayServiceRolePolicy
ops.emr-serverless AmazonEMRServerless AmazonEMRServerlessServiceRolePolicy
opsdatasync.ssm SystemsManagerOpsDataSync AWSSystemsManagerOpsDataSyncServiceRolePolicy
opsinsights.ssm AmazonSSM_OpsInsights AWSSSMOpsInsightsServiceRolePolicy
pullthroughcache.ecr ECRPullThroughCache AWSECRPullThroughCache_ServiceRolePolicy
ram ResourceAccessManager AWSResourceAccessManagerServiceRolePolicy
rds RDS AmazonRDSServiceRolePolicy
redshift Redshift AmazonRedshiftServiceLinkedRolePolicy
replication.cassandra KeyspacesReplication KeyspacesReplicationServiceRolePolicy
replication.ecr ECRReplication ECRReplicationServiceRolePolicy
replicator.lambda LambdaReplicator AWSLambdaReplicator
repository.sync.codeconnections GitSync AWSGitSyncServiceRolePolicy
resource-explorer-2 ResourceExplorer AWSResourceExplorerServiceRolePolicy
rolesanywhere RolesAnywhere AWSRolesAnywhereServicePolicy
s3-outposts S3OnOutposts AWSS3OnOutpostsServiceRolePolicy
ses AmazonSES AmazonSESServiceRolePolicy
shield AWSShield AWSShieldServiceRolePolicy
ssm AmazonSSM AmazonSSMServiceRolePolicy
ssm-incidents IncidentManager AWSIncidentManagerServiceRolePolicy
ssm-quicksetup SSMQuickSetup SSMQuickSetupRolePolicy
sso SSO AWSSSOServiceRolePolicy
vpcorigin.cloudfront CloudFrontVPCOrigin AWSCloudFrontVPCOriginServiceRolePolicy
waf WAFLogging WAFLoggingServiceRolePolicy
wafv2 WAFV2Logging WAFV2LoggingServiceRolePolicy
"""
LINKED_ROLES = {
    f"{service}.amazonaws.com": (f"AWSServiceRoleFor{role}", policy)
    for service, role, policy in (line.split() for line in _NAMES.split("\n") if line)
}
SUFFIXED = frozenset({"autoscaling.amazonaws.com", "connect.amazonaws.com", "lexv2.amazonaws.com"})
"""The services that may have several of their roles, told apart by `CustomSuffix`."""


class ServiceLinkedRoleOperations:
    """The operations."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._roles = directory.roles
        self._clock = clock

    async def create_service_linked_role(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        service = params["AWSServiceName"]
        if params.get("CustomSuffix") and service not in SUFFIXED:
            raise InvalidInput(f"Custom suffix is not allowed for {service}")
        if self._roles.is_taken(target.name):
            raise InvalidInput(f"Service role name {target.name} has been taken in this account, please try a different suffix.")
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        _, policy = LINKED_ROLES.get(service, ("", ""))
        role = self._roles.make(
            target,
            f"{LINKED_PATH}{service}/",
            self._clock.time(),
            RoleId=role_id(target.arn),
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
            Description=params.get("Description"),
            MaxSessionDuration=3600,
            Attached=[f"{PREFIX}aws-service-role/{policy}"] if policy else [],
        )
        await self._roles.create(role)
        shown = describe_role(role)
        del shown["MaxSessionDuration"]
        return {"Role": shown}

    async def delete_service_linked_role(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        task = f"task{LINKED_PATH}"

        def check(role: Entity) -> None:
            nonlocal task
            if not role["Path"].startswith(LINKED_PATH):
                raise NoSuchEntity(f"The role with name {target.name} cannot be found.")
            task += f"{role['Path'].split('/')[2]}/{target.name}/{uuid.uuid4()}"

        await self._roles.remove(target, check)
        return {"DeletionTaskId": task}

    async def get_deletion_status(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        return {"Status": "SUCCEEDED" if self._roles.if_readable(target.name) is None else "FAILED"}


def linked_role(service: str, suffix: str | None) -> str:
    """Return path and name of a service's role: "/aws-service-role/lambda.amazonaws.com/AWSServiceRoleForLambda"."""
    words = service.removesuffix(".amazonaws.com").replace("-", ".").split(".")
    name, _ = LINKED_ROLES.get(service, ("AWSServiceRoleFor" + "".join(word.title() for word in words), ""))
    return f"{LINKED_PATH}{service}/{name}" + (f"_{suffix}" if suffix else "")
