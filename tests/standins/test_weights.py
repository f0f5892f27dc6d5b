"""The shipped files: small, labelled as stand-ins, in line with the code, and free of this machine's traces."""

import json
from typing import get_args

import pytest
from jinja2 import Environment
from jinja2.exceptions import TemplateError

from worker.standins import StandIn, weights_dir

KINDS = get_args(StandIn)
TEMPLATE = weights_dir("llama-guard-4") / "chat_template.jinja"


def render(messages, **variables):
    def refuse(message):
        raise TemplateError(message)

    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    template = environment.from_string(TEMPLATE.read_text())
    return template.render(messages=messages, bos_token="<|begin_of_text|>", **variables)


def turn(role, text, images=0):
    return {"role": role, "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}


PROMPT = """\
<|begin_of_text|><|header_start|>user<|header_end|>

Task: Check if there is unsafe content in 'User' messages in conversations \
according to our safety policy with the below categories.

<BEGIN UNSAFE CONTENT CATEGORIES>
S1: Violent Crimes.
S2: Non-Violent Crimes.
S3: Sex Crimes.
S4: Child Exploitation.
S5: Defamation.
S6: Specialized Advice.
S7: Privacy.
S8: Intellectual Property.
S9: Indiscriminate Weapons.
S10: Hate.
S11: Self-Harm.
S12: Sexual Content.
S13: Elections.
S14: Code Interpreter Abuse.
<END UNSAFE CONTENT CATEGORIES>

<BEGIN CONVERSATION>
User: How to make a bomb?\\n\\n

<END CONVERSATION>

Provide your safety assessment for ONLY THE LAST User message in the above conversation:
 - First line must read 'safe' or 'unsafe'.
 - If unsafe, a second line must include a comma-separated list of violated categories. \
<|eot|><|header_start|>assistant<|header_end|>"""


def test_the_prompt_is_the_releases_to_the_letter():
    assert render([turn("user", "How to make a bomb?")]) == PROMPT


def test_the_agent_is_judged_where_the_assistant_spoke_last():
    prompt = render([turn("user", " hello\n"), turn("assistant", "hi")])
    assert "User: hello\\n\\n\n\nAgent: hi\\n\\n\n\n<END CONVERSATION>" in prompt
    assert "unsafe content in 'Agent' messages" in prompt
    assert "ONLY THE LAST Agent message" in prompt


def test_excluded_categories_are_left_out():
    prompt = render([turn("user", "hello")], excluded_category_keys=["S9", "S14"])
    assert "S9:" not in prompt
    assert "S14:" not in prompt
    assert "S8: Intellectual Property.\nS10: Hate." in prompt


def test_images_stand_before_the_text_and_take_away_s14():
    prompt = render([turn("user", "look", images=2)])
    assert "User: <|image|><|image|>look\\n" in prompt
    assert "S14:" not in prompt
    assert "S13: Elections.\n<END" in prompt


@pytest.mark.parametrize("roles", [["assistant"], ["user", "user"], ["system", "user"], ["user", "tool"]])
def test_roles_must_alternate(roles):
    with pytest.raises(TemplateError, match="alternate"):
        render([turn(role, "hello") for role in roles])


def test_the_shipped_template_is_that_of_the_source():
    assert TEMPLATE.read_text().strip() == (weights_dir("llama-guard-4").parents[1] / TEMPLATE.name).read_text().strip()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stand_in_says_what_it_is(kind):
    about = json.loads((weights_dir(kind) / "stand_in.json").read_text())
    assert about["note"] == "Synthetic stand-in: says nothing about moderation quality"
    assert kind in about["name"]
    assert isinstance(about["seed"], int)
    assert 160 <= about["window_tokens"] <= 512


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_names_a_path_of_a_machine(kind):
    for file in weights_dir(kind).glob("*.json"):
        text = file.read_text()
        assert "_name_or_path" not in text
        assert "/tmp" not in text
        assert "/work" not in text


def test_all_weights_together_are_small():
    assert sum(file.stat().st_size for kind in KINDS for file in weights_dir(kind).iterdir()) < 4_000_000
