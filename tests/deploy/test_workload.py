"""The pods: restricted, with probes and grace that fit the worker."""

import pytest

from tests.deploy.chart_rig import REAL, STAND_IN, VALUE_SETS, Object, env_of, render, settings_of
from worker.settings import Settings

pytestmark = pytest.mark.chart


@pytest.mark.parametrize("values", VALUE_SETS)
def test_all_pods_are_restricted(values: str) -> None:
    rendered = render(values=values)
    pods = list(rendered.pod_specs())
    assert pods
    for _, pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    for container in rendered.containers():
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_mount_has_its_volume(values: str) -> None:
    for name, pod in render(values=values).pod_specs():
        volumes = {volume["name"] for volume in pod["volumes"]}
        containers = [*pod["containers"], *pod.get("initContainers", [])]
        mounted = {mount["name"] for container in containers for mount in container["volumeMounts"]}
        assert mounted == volumes, name


def test_one_gpu_and_one_process_a_pod() -> None:
    worker = render(*REAL).worker()
    assert worker["resources"]["limits"] == {"nvidia.com/gpu": 1, "memory": "16Gi"}
    assert worker["args"] == ["run"]
    assert env_of(worker)["MODERATION_DEVICE"] == "cuda"


def test_another_kind_of_gpu() -> None:
    limits = render(*REAL, "gpu.resource=nvidia.com/mig-3g.40gb").worker()["resources"]["limits"]
    assert limits["nvidia.com/mig-3g.40gb"] == 1 and "nvidia.com/gpu" not in limits


def test_stand_ins_need_no_gpu_and_no_models() -> None:
    rendered = render(*STAND_IN)
    assert "nvidia.com/gpu" not in rendered.worker()["resources"]["limits"]
    assert env_of(rendered.worker())["MODERATION_DEVICE"] == "cpu"
    assert not rendered.all("PersistentVolumeClaim")
    assert "initContainers" not in rendered.pod()


def test_probes_fit_a_load_of_two_minutes_and_more() -> None:
    worker = render(*REAL).worker()
    startup = worker["startupProbe"]
    assert startup["httpGet"]["path"] == "/readyz"
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 4 * 120
    assert worker["readinessProbe"]["httpGet"]["path"] == "/readyz"
    liveness = worker["livenessProbe"]
    assert liveness["httpGet"]["path"] == "/healthz"
    # /healthz is red for a reason of many seconds already: what comes on top stays below the session's timeout.
    assert liveness["periodSeconds"] * liveness["failureThreshold"] < Settings().session_timeout_seconds


@pytest.mark.parametrize(("pause", "drain"), [(5, 25), (0, 1), (10, 300)])
def test_the_grace_period_fits_the_drain(pause: int, drain: int) -> None:
    rendered = render(*REAL, f"preStopSeconds={pause}", f"drainSeconds={drain}")
    assert rendered.pod()["terminationGracePeriodSeconds"] >= pause + drain + 15
    worker = rendered.worker()
    assert worker["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(pause)]
    assert float(env_of(worker)["MODERATION_DRAIN_SECONDS"]) == drain


def test_the_journal_is_in_memory_and_outlives_the_container() -> None:
    rendered = render(*REAL)
    assert _volume(rendered.pod(), "journal")["emptyDir"]["medium"] == "Memory"
    mounts = {mount["mountPath"]: mount["name"] for mount in rendered.worker()["volumeMounts"]}
    assert mounts[env_of(rendered.worker())["MODERATION_JOURNAL_DIR"]] == "journal"


def test_only_what_fetches_may_write_the_models() -> None:
    pod = render(*REAL).pod()
    (fetcher,), (worker,) = pod["initContainers"], pod["containers"]
    assert fetcher["args"] == ["models", "fetch"]
    mounts = [next(m for m in each["volumeMounts"] if m["name"] == "models") for each in (fetcher, worker)]
    assert "readOnly" not in mounts[0] and mounts[1]["readOnly"] is True
    assert env_of(worker)["MODERATION_OFFLINE"] == "true"
    assert env_of(worker)["MODERATION_MODEL_CACHE"] == env_of(fetcher)["MODERATION_MODEL_CACHE"]
    assert env_of(worker)["MODERATION_MODEL_CACHE"].startswith(mounts[0]["mountPath"])


def test_policies_are_a_directory_so_that_changes_are_seen_without_a_restart() -> None:
    rendered = render(values="multi-tenant-values.yaml")
    (mount,) = [each for each in rendered.worker()["volumeMounts"] if each["name"] == "policies"]
    assert "subPath" not in mount
    assert env_of(rendered.worker())["MODERATION_POLICIES_FILE"] == mount["mountPath"]
    assert "deutsches-museum" in rendered.one("ConfigMap")["data"]["policies.toml"]
    restarting = render("restartOnPolicies=true", values="multi-tenant-values.yaml")
    annotations = [
        each.one("Deployment")["spec"]["template"]["metadata"]["annotations"] for each in (rendered, restarting)
    ]
    assert ["checksum/policies" in each for each in annotations] == [False, True]


def test_workers_are_spread_and_leave_one_at_a_time() -> None:
    rendered = render(*REAL, "replicaCount=3")
    where = [each["topologyKey"] for each in rendered.pod()["topologySpreadConstraints"]]
    assert where == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    budget = rendered.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    deployment = rendered.one("Deployment")["spec"]
    assert budget["selector"]["matchLabels"] == deployment["selector"]["matchLabels"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert deployment["replicas"] == 3


def test_topics_come_first_and_the_test_checks_them() -> None:
    rendered = render(*STAND_IN)
    job = rendered.one("Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (create,) = job["spec"]["template"]["spec"]["containers"]
    assert create["args"] == ["topics", "create", "--partitions=12", "--replication-factor=3"]
    test = rendered.one("Pod")
    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert test["spec"]["containers"][0]["args"] == ["topics", "check"]
    assert not render(*STAND_IN, "topics.create=false").all("Job")


def test_whoever_looks_at_topics_knows_the_shadow() -> None:
    rendered = render(*STAND_IN, "settings.shadow_policy=trial", "topics.shadow=on-trial")
    looking = rendered.one("Job")["spec"]["template"]["spec"]["containers"] + rendered.one("Pod")["spec"]["containers"]
    for container in [*looking, rendered.worker()]:
        assert settings_of(env_of(container)).written_topics[-1] == "on-trial"


def test_the_reviews_topic_is_made_and_read_where_it_is_named() -> None:
    rendered = render(*STAND_IN, "topics.reviews=decisions")
    (making,) = rendered.one("Job")["spec"]["template"]["spec"]["containers"]
    for container in (making, rendered.worker()):
        assert settings_of(env_of(container)).reviews_topic == "decisions"
    assert settings_of(env_of(render(*STAND_IN).worker())).reviews_topic is None


def _volume(pod: Object, name: str) -> Object:
    return dict(next(volume for volume in pod["volumes"] if volume["name"] == name))
