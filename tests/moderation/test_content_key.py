"""Content keys: equal for what the guards cannot tell apart by anything they see, different for everything else."""

from itertools import combinations
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contract.chat_event import ChatEvent, read_chat_event
from worker.moderation.content_key import LARGE, characters_held, content_key
from worker.policy.policy import DEFAULT_POLICY, Policy


def document(*messages: tuple[str, Any], **fields: Any) -> dict[str, Any]:
    spelled = [{"role": role, "content": content} for role, content in messages]
    return {"event_id": "e", "conversation_id": "c", "messages": spelled, **fields}


def event(*messages: tuple[str, Any], **fields: Any) -> ChatEvent:
    return ChatEvent.model_validate(document(*messages, **fields))


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def image(**source: str) -> dict[str, Any]:
    return {"type": "image", **source}


def image_url(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def key(given: ChatEvent, policy: Policy = DEFAULT_POLICY) -> bytes:
    return content_key(given, policy)


# Few letters, digits, commas and colons: what would be confused if anything could be.
_TEXTS = st.one_of(st.text("a1,:0\n", max_size=4), st.sampled_from(["user", "string", "text", "1", "image data"]))
_PARTS = st.one_of(
    _TEXTS.map(text),
    _TEXTS.map(lambda each: image(data=each)),
    _TEXTS.map(lambda each: image(url=each)),
    _TEXTS.map(image_url),
)
_CONTENTS = st.one_of(_TEXTS, st.lists(_PARTS, min_size=1, max_size=3))
_ROLES = st.sampled_from(["user", "assistant", "tool", "system"])
_CONVERSATIONS = st.lists(st.tuples(_ROLES, _CONTENTS), min_size=1, max_size=3)


@given(one=_CONVERSATIONS, other=_CONVERSATIONS)
def test_different_messages_have_different_keys_and_equal_ones_the_same(one: Any, other: Any) -> None:
    first, second = event(*one), event(*other)
    assert (key(first) == key(second)) is (first.messages == second.messages)


@given(_CONVERSATIONS)
def test_messages_read_again_have_the_same_key(conversation: Any) -> None:
    sent = document(*conversation)
    again = read_chat_event(orjson.dumps(sent, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
    assert key(again) == key(ChatEvent.model_validate(sent))


def test_nothing_that_is_divided_otherwise_has_the_same_key() -> None:
    conversations: list[list[tuple[str, Any]]] = [
        [("user", "ab")],
        [("user", "a"), ("user", "b")],
        [("user", "b"), ("user", "a")],
        [("user", "a\nb")],
        [("user", "ab"), ("user", "")],
        [("user", ""), ("user", "ab")],
        [("assistant", "ab")],
        [("tool", "ab")],
        [("system", "ab"), ("user", "ab")],
        [("user", [text("ab")])],
        [("user", [text("a"), text("b")])],
        [("user", [text(""), text("ab")])],
        [("user", [text("ab"), text("")])],
        [("user", [image(data="ab")])],
        [("user", [image(url="ab")])],
        [("user", [image_url("ab")])],
    ]
    assert len({key(event(*each)) for each in conversations}) == len(conversations)


def test_a_key_is_short_whatever_the_content() -> None:
    assert {len(key(event(("user", "x" * size)))) for size in (0, 1, 5_000_000)} == {32}


@pytest.mark.parametrize("large", [[text("x"), image(data="y" * 600_000)], "x" * 600_000])
def test_what_takes_long_to_hash_is_told_beforehand(large: Any) -> None:
    assert (characters_held(event(("user", "hi"), ("user", large))) or 0) > LARGE
    assert characters_held(event(("user", "hello"), ("user", [text("you"), image(data="y" * 10)]))) == 18


def test_half_an_emoji_has_a_key() -> None:
    assert key(event(("user", "\ud83d"))) != key(event(("user", "\ufffd")))


def test_only_messages_and_policy_are_in_the_key() -> None:
    plain = event(("user", "hi"))
    other = event(
        ("user", "hi"),
        event_id="other",
        conversation_id="other",
        tenant="acme",
        policy="default",
        occurred_at="2026-05-01T12:00:00Z",
        metadata={"a": 1},
    )
    assert key(plain) == key(other)


def test_every_value_of_a_policy_is_in_the_key() -> None:
    policies = [
        Policy(name="default"),
        Policy(name="other"),
        Policy(name="default", excluded_categories=("S1",)),
        Policy(name="default", excluded_categories=("S1", "S2")),
        Policy(name="default", unsafe_threshold=0.6),
        Policy(name="default", review_band=(0.4, 0.6)),
        Policy(name="default", prompt_attack_threshold=0.6),
        Policy(name="default", prompt_attack_action="ignore"),
        Policy(name="default", excluded_categories=("S1",), excluded_mode="filter"),
        Policy(name="default", categories={"S1": {"threshold": 0.6}}),
        Policy(name="default", judged_roles=("user",)),
        Policy(name="default", images="review"),
    ]
    assert {name for policy in policies for name in policy.model_fields_set} == set(Policy.model_fields)
    keys = [key(event(("user", "hi")), policy) for policy in policies]
    assert all(one != other for one, other in combinations(keys, 2))
    assert key(event(("user", "hi")), Policy(name="default")) == keys[0]


@pytest.mark.parametrize(
    ("content", "stays"),
    [
        ("https://example.com/a.png", True),  # a text about a picture
        ([text("https://example.com/a.png")], True),
        ([image(data="https")], True),
        ([image(url="data:image/png;base64,AAAA")], True),
        ([image_url("DATA:image/png;base64,AAAA")], True),
        ([image(url="https://example.com/a.png")], False),
        ([image_url("https://example.com/a.png")], False),
        ([image_url("")], False),
        ([text("a"), image(data="AAAA"), image_url("https://example.com/a.png")], False),
    ],
)
def test_what_lies_behind_an_address_may_change(content: Any, stays: bool) -> None:
    assert (characters_held(event(("user", content))) is not None) is stays
    assert (characters_held(event(("user", content), ("assistant", "later"))) is not None) is stays
