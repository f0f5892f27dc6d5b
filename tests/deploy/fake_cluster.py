"""As much of a cluster's API as the chart asks at an installation: the Secrets of the namespace `default`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.http_server import QuietHandler, serving


@contextmanager
def fake_cluster(folder: Path, *secrets: str) -> Iterator[Path]:
    """A running one with these Secrets; the kubeconfig that leads to it."""
    items = [{"metadata": {"name": name, "namespace": "default"}} for name in secrets]
    kinds = [{"name": "secrets", "singularName": "", "namespaced": True, "kind": "Secret", "verbs": ["get", "list"]}]
    pages = {
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": kinds},
        "/api/v1/namespaces/default/secrets": {
            "kind": "SecretList",
            "apiVersion": "v1",
            "metadata": {},
            "items": items,
        },
    }

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            body = json.dumps(page or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}).encode()
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as url:
        yield _kubeconfig(folder, url)


def _kubeconfig(folder: Path, url: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": url}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "nobody", "namespace": "default"}}],
        "users": [{"name": "nobody", "user": {}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
