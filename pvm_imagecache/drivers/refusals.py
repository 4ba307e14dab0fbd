#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""What refusals of PowerVM mean, by their words: pure functions.

The REST API has no error code for a full pool or for a name in use: the text
of the command behind it is all that a client gets. It differs between levels
and languages. ``pvm-imagecache platform check`` learns the text of a
platform by causing the refusal.
"""

from collections.abc import Collection
import re
from typing import Final

#: Codes of messages of AIX.
_CODE: Final = re.compile(r'(?<![\w-])\d{4}-\d{3}(?![\w-])')
#: Ends each refusal to create a logical volume, whatever the cause is.
_GENERIC: Final = frozenset({'0516-822'})
_GENERIC_TEXT: Final = re.compile(
    r'0516-822 mklv: [^.]*(\.|$)|0516-822', re.IGNORECASE
)
#: A word without digits or underscores: names and numbers differ each time.
_WORD: Final = re.compile(r'[^\W\d_]{2,}(?![\w.]*[\d_])')
_PART: Final = re.compile(r'[^\s"\'(),;:]+')
#: Put by pypowervm before the message of the server.
_PREFIX: Final = re.compile(r'.*?HTTP error \d+ for method .*? -- ', re.S)
#: Fewer words than these mean nothing in particular.
_LEAST_WORDS: Final = 3


def message_of(reason: str) -> str:
    """Return the message of the server alone.

    :param reason: of a refused request, as pypowervm words it.
    :returns: the text without method, path and status.
    """
    return _PREFIX.sub('', reason, count=1).strip()


def without_names(message: str, names: Collection[str]) -> str:
    """Return a message with names replaced.

    :param message: of the server.
    :param names: of disks and pools.
    :returns: the message with ``NAME`` in place of each.
    """
    for name in sorted(names, key=len, reverse=True):
        message = re.sub(
            rf'(?<![\w]){re.escape(name)}(?![\w])', 'NAME', message
        )
    return message


def is_like(
    message: str,
    learned: str | None,
    unlike: str | None,
    names: Collection[str] = (),
) -> bool:
    """Return whether a message means the same as one that was learned.

    Codes of AIX decide if the learned message has any that is not generic.
    Otherwise the words do, without names and numbers.

    :param message: of the server.
    :param learned: the message whose meaning is known; None if there is
        none.
    :param unlike: a message that means something else. What both have in
        common says nothing. None if it was not measured: then the platform
        may say the same for every reason.
    :param names: of disks and pools that may be in the message.
    :returns: False in doubt.
    """
    if not learned or not unlike:
        return False
    codes = _codes(learned) - _codes(unlike)
    if codes:
        return bool(codes & _codes(message))
    if _codes(learned):
        return False
    words = _words(learned, ())
    if len(words) < _LEAST_WORDS or words == _words(unlike, ()):
        return False
    return _contains(_words(message, names), words)


def _codes(message: str) -> set[str]:
    return set(_CODE.findall(message)) - _GENERIC


def _words(message: str, names: Collection[str]) -> list[str]:
    text = without_names(_GENERIC_TEXT.sub(' ', message_of(message)), names)
    return [
        word.lower()
        for part in _PART.findall(text)
        if not re.search(r'[\d_/]', part)
        for word in _WORD.findall(part)
        if word != 'NAME'
    ]


def _contains(words: list[str], part: list[str]) -> bool:
    """Return whether a list has another one as a part."""
    return any(
        words[start : start + len(part)] == part
        for start in range(len(words) - len(part) + 1)
    )
