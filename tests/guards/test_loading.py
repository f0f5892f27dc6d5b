"""Loading: the settings arrive at the guards, and what cannot be used is said before torch is asked."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.guards.errors import ModelRefused, ModelUnavailable
from worker.guards.guard import Guard
from worker.guards.loading import load_guards
from worker.settings import Settings
from worker.standins import weights_dir


def settings(**changes: Any) -> Settings:
    stand_ins = {"llama_guard_model": "stand-in", "prompt_guard_model": "stand-in", "device": "cpu"}
    return Settings(**(stand_ins | changes))


@pytest.mark.parametrize("module", ["loading", "runner", "golden", "hub", "checkpoint"])
def test_importing_is_quick(module: str) -> None:
    code = (
        f"import sys, worker.guards.{module}; print({{'torch', 'transformers', 'huggingface_hub'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_a_model_that_is_not_there_is_said_before_torch_is_loaded() -> None:
    with pytest.raises(ModelUnavailable, match="llama_guard_revision is not set"):
        load_guards(settings(llama_guard_model="meta-llama/Llama-Guard-4-12B"))


@pytest.mark.models
def test_the_stand_ins_load() -> None:
    said: list[str] = []
    guards = load_guards(settings(), said.append)
    assert [guard.name for guard in guards] == ["llama_guard", "prompt_guard"]
    assert all(isinstance(guard, Guard) for guard in guards)
    assert [model.id for guard in guards for model in guard.models] == [
        "stand-in/llama-guard-4",
        "stand-in/prompt-guard-2",
    ]
    assert all(model.stand_in for guard in guards for model in guard.models)
    assert said == ["loading stand-in/llama-guard-4 on cpu", "loading stand-in/prompt-guard-2 on cpu"]


@pytest.mark.models
@pytest.mark.parametrize(("setting", "tiles"), [(None, 4), (1, 1), (99, 4)])
def test_an_image_has_as_many_tiles_as_the_setting_and_the_checkpoint_allow(setting: int | None, tiles: int) -> None:
    llama_guard: Any = load_guards(settings(max_image_tiles=setting))[0]
    assert llama_guard._planner._prompts._original.image_processor.max_patches == tiles


@pytest.mark.models
def test_torch_threads_are_set() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        load_guards(settings(torch_threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.models
@pytest.mark.parametrize(("device", "cause"), [("nonsense", "unknown_device"), ("cuda:99", "no_cuda_device")])
def test_a_device_that_is_not_there_is_refused(device: str, cause: str) -> None:
    with pytest.raises(ModelRefused) as refused:
        load_guards(settings(device=device))
    assert refused.value.cause == cause


@pytest.mark.models
@pytest.mark.parametrize(
    "mixed_up", [{"llama_guard_model": "prompt-guard-2"}, {"prompt_guard_model": "llama-guard-4"}], ids=str
)
def test_the_models_mixed_up_are_refused(mixed_up: dict[str, Any]) -> None:
    changes = {setting: str(weights_dir(kind)) for setting, kind in mixed_up.items()}
    with pytest.raises(ModelRefused):
        load_guards(settings(**changes))


@pytest.mark.models
def test_a_guard_without_its_processor_is_refused(tmp_path: Path) -> None:
    for file in weights_dir("llama-guard-4").iterdir():
        if file.name != "processor_config.json":
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(ModelRefused):
        load_guards(settings(llama_guard_model=str(tmp_path)))
