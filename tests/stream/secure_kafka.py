"""A Kafka with logins and rights: one broker of our own with a listener for each way to connect, and its users."""

import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.stream.rig import Rig
from worker.local.jvm_broker import JvmBroker

PASSWORD = "hush-password"
KEY_PASSWORD = "hush-key-password"
SECRETS = ("hush", ".eyJ")  # the latter begins the claims of a token
SESSION_SECONDS = 3  # after which the broker wants a new login on the listener OAUTH

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"


class Certificates:
    """An authority with a server's and a client's certificate, and another authority, as PEM files in a folder.

    The server's names the address 127.0.0.1 and no host name; the client's key is encrypted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca, self.other_ca = self._authority("ca"), self._authority("other-ca")
        self.server_key, self.server = self._issue("server", "ca", "IP:127.0.0.1")
        self.client_key, self.client = self._issue("client", "ca", "DNS:client", KEY_PASSWORD)
        self.foreign_key, _ = self._issue("foreign", "other-ca", "DNS:client", KEY_PASSWORD)
        self.keystore = folder / "server.pem"
        self.keystore.write_text(self.server_key.read_text() + self.server.read_text())

    def _authority(self, name: str) -> Path:
        self._openssl("req -x509 -nodes -days 2 -subj", f"/CN={name}", f"-keyout {name}.key -out {name}.pem", key=True)
        return self._folder / f"{name}.pem"

    def _issue(self, name: str, authority: str, alternative: str, password: str = "") -> tuple[Path, Path]:
        locked = f"-passout pass:{password}" if password else "-nodes"
        self._openssl(f"req {locked} -subj /CN={name} -keyout {name}.key -out {name}.csr", key=True)
        (self._folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        self._openssl(
            f"x509 -req -days 2 -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial "
            f"-extfile {name}.ext -out {name}.crt"
        )
        return self._folder / f"{name}.key", self._folder / f"{name}.crt"

    def _openssl(self, *words: str, key: bool = False) -> None:
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key else []
        first, *rest = " ".join(words).split()
        tool = shutil.which("openssl")
        assert tool is not None, "these tests need the openssl command"
        command = [tool, first, *new, *rest]
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def unsecured_token(user: str, seconds: float = 3600) -> str:
    """A JSON Web Token without a signature, which Kafka takes where nothing else is configured."""
    now = int(time.time())
    parts = ({"alg": "none"}, {"sub": user, "iat": now - 10, "exp": int(now + seconds)})
    return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts) + "."


@dataclass(frozen=True)
class SecureKafka:
    """The broker, which takes everybody through its plaintext listener LOCAL, and asks for a login on the others."""

    broker: JvmBroker
    certificates: Certificates
    folder: Path
    admin: AdminClient

    @property
    def bootstrap_servers(self) -> str:
        """For the tests themselves: they may do everything."""
        return self.broker.bootstrap_servers

    def settings(self, way: str, user: str = "worker") -> dict[str, object]:
        """The worker's settings to connect by `plain`, `scram`, `oauth` or `mtls`; `mtls` is always `client`."""
        address = self.broker.address({"plain": "USERS", "scram": "USERS"}.get(way, way.upper()))
        found: dict[str, object] = {"bootstrap_servers": address, "ssl_ca_file": self.certificates.ca}
        if way == "mtls":
            return found | {
                "security_protocol": "SSL",
                "ssl_cert_file": self.certificates.client,
                "ssl_key_file": self.certificates.client_key,
                "ssl_key_password_file": self.file("key-password", KEY_PASSWORD),
            }
        found["security_protocol"] = "SASL_SSL"
        if way == "oauth":
            token = self.file(f"token-{user}", unsecured_token(user))
            return found | {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_file": token}
        password = {"sasl_password": PASSWORD} if way == "plain" else {"sasl_password_file": self.file("pw", PASSWORD)}
        mechanism = "PLAIN" if way == "plain" else "SCRAM-SHA-512"
        return found | {"sasl_mechanism": mechanism, "sasl_username": user, **password}

    def file(self, name: str, text: str) -> Path:
        """A file with a secret, as Kubernetes mounts them."""
        path = self.folder / name
        path.write_text(text + "\n")
        return path

    def allow(self, user: str, rig: Rig, *, but: str = "") -> None:
        """Grants what a worker on this rig needs, except on the topic or group `but`."""
        self.grant(rights for rights in needed(user, rig) if rights.name != but)

    def grant(self, rights: Iterable[AclBinding]) -> None:
        """Grants these."""
        wanted = set(rights)
        for future in self.admin.create_acls(list(wanted)).values():
            future.result(30)
        self._until(lambda: wanted <= set(self.admin.describe_acls(ANY_ACL).result(30)))

    def take_away(self, user: str, rig: Rig, name: str) -> None:
        """Takes away the right of a user on a topic or group of the rig."""
        (gone,) = (right for right in needed(user, rig) if right.name == name)
        exactly = AclBindingFilter(
            gone.restype, name, gone.resource_pattern_type, gone.principal, "*", gone.operation, gone.permission_type
        )
        for future in self.admin.delete_acls([exactly]).values():
            future.result(30)
        self._until(lambda: gone not in self.admin.describe_acls(ANY_ACL).result(30))

    def add_scram_user(self, user: str) -> None:
        """A user of SCRAM-SHA-512 with the password of all."""
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        new = UserScramCredentialUpsertion(user, scram, PASSWORD.encode())
        for future in self.admin.alter_user_scram_credentials([new]).values():
            future.result(30)
        self._until(lambda: user in self.admin.describe_user_scram_credentials([user]))

    def _until(self, holds: Any) -> None:
        while not holds():
            time.sleep(0.05)  # the broker learns of it from its controller, a moment after it has answered


ANY_ACL = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)


def needed(user: str, rig: Rig) -> list[AclBinding]:
    """The rights of a worker: no more than docs/operations.md says."""
    wanted = [
        (ResourceType.TOPIC, rig.input_topic, AclOperation.READ),
        (ResourceType.GROUP, rig.group, AclOperation.READ),
    ]
    wanted += [(ResourceType.TOPIC, topic, AclOperation.WRITE) for topic in rig.outputs.values()]
    if topic := rig.extra.get("reviews_topic"):
        wanted.append((ResourceType.TOPIC, topic, AclOperation.READ))
        wanted.append((ResourceType.GROUP, f"{rig.group}-reviews", AclOperation.READ))
    return _bindings(user, wanted)


def needed_by_an_operator(user: str, rig: Rig) -> list[AclBinding]:
    """The rights to look at dead letters and to replay them: no more than docs/operations.md says."""
    return _bindings(
        user,
        [
            (ResourceType.TOPIC, rig.outputs["dead_letter_topic"], AclOperation.READ),
            (ResourceType.GROUP, f"{rig.group}-replay", AclOperation.READ),
            (ResourceType.TOPIC, rig.input_topic, AclOperation.WRITE),
        ],
    )


def _bindings(user: str, wanted: Sequence[tuple[ResourceType, str, AclOperation]]) -> list[AclBinding]:
    return [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for kind, name, operation in wanted
    ]


@contextlib.contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """Starts it. Raises KafkaUnavailable."""
    certificates = Certificates(folder)
    plain_users = " ".join(f'user_{user}="{PASSWORD}"' for user in ("worker", "other"))
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # whoever comes through LOCAL: the broker itself, and the tests
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
        "listener.name.mtls.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        "listener.name.users.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.users.plain.sasl.jaas.config": f"{_PLAIN} {plain_users};",
        "listener.name.users.scram-sha-512.sasl.jaas.config": f"{_SCRAM};",
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": f'{_OAUTH} unsecuredLoginStringClaim_sub="broker";',
        "listener.name.oauth.oauthbearer.connections.max.reauth.ms": str(SESSION_SECONDS * 1000),
    }
    listeners = {"USERS": "SASL_SSL", "OAUTH": "SASL_SSL", "MTLS": "SSL"}
    with JvmBroker(properties=properties, extra_listeners=listeners) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        kafka = SecureKafka(broker, certificates, folder, admin)
        kafka.add_scram_user("worker")
        yield kafka
