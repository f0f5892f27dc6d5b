"""Delimiters: text in messages that imitates what the chat template writes around them, and how it is neutralised.

The template marks the conversation with plain text: `<END CONVERSATION>`, and turns that end with two literal `\\n` and
a blank line and begin with `User:` or `Agent:`. A message that holds these could end the conversation or answer itself.
"""

import re
from typing import Final

# Drawn as nothing: between the letters of a delimiter they would only hide it.
_HIDDEN: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u2069\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
_BLANK: Final = rf"[ \t\x1f\xa0\u1680\u2000-\u200a\u202f\u205f\u3000{_HIDDEN}]*"  # white space within a line
_LINE_ENDS: Final = r"\r\n\v\f\x1c-\x1e\x85\u2028\u2029"


def _hiding(word: str) -> str:
    return f"[{_HIDDEN}]*".join(word)


def _tag() -> str:
    gap = rf"[\s_{_HIDDEN}-]"
    ends = "|".join(map(_hiding, ("BEGIN", "END")))
    names = "|".join(gap + "+" + (gap + "+").join(map(_hiding, name)) for name in _TAG_NAMES)
    return rf"[<＜](?i:({gap}*(?:{ends})(?:{names}){gap}*)[>＞])"


_TAG_NAMES: Final = (("CONVERSATION",), ("UNSAFE", "CONTENT", "CATEGORIES"))
_TAG: Final = re.compile(_tag())
_SPEAKERS: Final = ("User", "Agent", "USER", "AGENT")  # in small letters they are people's own transcripts
# The end of a line, or a spelt one. It begins with one set of characters, which makes the search quick.
_BREAK: Final = rf"[\\{_LINE_ENDS}](?:(?<=\r)\n|(?<=\\)n)?+(?<!\\){_BLANK}"
# Every place is looked at twice at most: the time is linear.
_TURN: Final = re.compile(rf"({_BREAK}{_BREAK})({'|'.join(map(_hiding, _SPEAKERS))})(?={_BLANK}[:：])")
_TURN_END: Final = re.compile(rf"\\n(?=\\n{_BLANK}[{_LINE_ENDS}])")


def neutralise(text: str) -> tuple[str, int]:
    """The text with its imitations of delimiters broken, and how many there were; a text without any as it is.

    `<END CONVERSATION>` and its like become `(END CONVERSATION)`, a turn's `User:` or `Agent:` after a blank line
    `(Agent):`, and the two literal `\\n` of a turn's end are set apart. Time is linear in the text.
    """
    text, tags = _TAG.subn(r"(\1)", text)
    text, turns = _TURN.subn(r"\1(\2)", text)
    text, ends = _TURN_END.subn(r"\\n ", text)
    return text, tags + turns + ends
