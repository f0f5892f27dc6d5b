"""A static member's place in the group, and whether somebody else has taken it.

aiokafka knows nothing of Kafka's fencing: a member whose place was taken would take it back, and so would the other,
for ever, and both would judge everything.
"""

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

from worker.settings import Settings
from worker.stream.kafka.cluster import connected
from worker.stream.kafka.connection import security_of


class PlaceTaken(Exception):
    """Another worker has this worker's `group_instance_id`; the message says so."""


class StaticMember:
    """The place that `group_instance_id` names. Asks the group itself; raises aiokafka's errors."""

    def __init__(self, settings: Settings, instance: str) -> None:
        self._settings, self._instance = settings, instance
        self._member: str | None = None

    async def joined(self) -> None:
        """We have just joined: whoever holds the place now is us."""
        self._member = await self._holder()

    async def check(self) -> None:
        """Raises PlaceTaken where somebody else holds the place."""
        holder = await self._holder()
        if self._member is not None and holder is not None and holder != self._member:
            raise PlaceTaken(
                f"another worker of group {self._settings.group} has joined as {self._instance}: "
                "give each worker a MODERATION_GROUP_INSTANCE_ID of its own"
            )

    async def _holder(self) -> str | None:
        """The id that the group has given to the member in this place; None while there is none."""
        async with connected(self._settings.bootstrap_servers, security_of(self._settings)) as client:
            return (await _static_members(client, self._settings.group)).get(self._instance)


async def _static_members(client: AIOKafkaClient, group: str) -> dict[str, str]:
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
    answer = await client.send(coordinator, _DescribeGroupRequest(group))
    (described,) = answer.to_object()["groups"]
    return {member["group_instance_id"]: member["member_id"] for member in described["members"]}


class _DescribeGroupsResponse_v4(Response):  # type: ignore[misc]  # noqa: N801 - aiokafka's way to name versions
    API_KEY = 15
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", String("utf-8")),
                ("state", String("utf-8")),
                ("protocol_type", String("utf-8")),
                ("protocol", String("utf-8")),
                (
                    "members",
                    Array(
                        ("member_id", String("utf-8")),
                        ("group_instance_id", String("utf-8")),
                        ("client_id", String("utf-8")),
                        ("client_host", String("utf-8")),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class _DescribeGroupsRequest_v4(RequestStruct):  # type: ignore[misc]  # noqa: N801
    API_KEY = 15
    API_VERSION = 4
    RESPONSE_TYPE = _DescribeGroupsResponse_v4
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class _DescribeGroupRequest(Request[_DescribeGroupsRequest_v4]):  # type: ignore[misc]
    """Asks for one group with its static members, which needs Kafka 2.4."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, version: type[RequestStruct]) -> RequestStruct:
        return version([self._group], False)
