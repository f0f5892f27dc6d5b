"""The bench of many tenants: distinct exclusions, and every side judges the same events."""

from itertools import islice

import pytest

from worker.bench.tenants import TenantsBench, _exclusions


def test_every_tenant_excludes_something_else() -> None:
    choices = list(islice(_exclusions(), 8000))
    assert len(set(choices)) == 8000
    assert all(any(choice) and len(choice) == 13 for choice in choices)


@pytest.mark.models
def test_all_sides_are_measured() -> None:
    found = TenantsBench(tenants=3, events=12).run(rounds=1)
    assert (found.tenants, found.events, found.rounds) == (3, 12, 1)
    assert min(found.one_tenant, found.prompt, found.filtered, found.ratio_prompt, found.ratio_filtered) > 0
    assert found.prefix_cache_bytes > 0
