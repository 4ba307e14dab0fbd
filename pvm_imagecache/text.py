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

"""Human-readable forms of sizes, times, names and errors."""

from collections.abc import Mapping
from typing import Final

_SIZES: Final = (
    (1 << 40, 'TiB'),
    (1 << 30, 'GiB'),
    (1 << 20, 'MiB'),
    (1 << 10, 'KiB'),
)
#: Images that :func:`listed` names.
_LISTED: Final = 5
_TIMES: Final = ((86400, 'd'), (3600, 'h'), (60, 'min'), (1, 's'))


def size(count: int) -> str:
    """Return a number of bytes in the largest unit that fits: ``1.5 GiB``.

    :param count: bytes, 0 or more.
    :returns: at most four significant digits, and a binary unit.
    """
    for factor, unit in _SIZES:
        if count >= factor:
            return f'{count / factor:.4g} {unit}'
    return f'{count} B'


def size_exact(count: int) -> str:
    """Return a number of bytes also exactly: ``1 GiB (1073741825 bytes)``.

    :param count: bytes, 0 or more.
    :returns: the rounded and the exact size.
    """
    return f'{size(count)} ({count} bytes)'


def duration(seconds: float) -> str:
    """Return a length of time in at most two units: ``1 d 2 h``.

    :param seconds: 0 or more. Less than ten are shown with one decimal.
    :returns: the text; a smaller unit that is zero is left out.
    """
    if seconds < 10:
        return f'{round(seconds, 1):g} s'
    # Round before the unit is chosen, so that 59.7 s are one minute.
    whole = round(seconds)
    for (factor, unit), (least, smaller) in zip(
        _TIMES, _TIMES[1:], strict=False
    ):
        if whole >= factor:
            count, rest = divmod(whole, factor)
            parts = rest // least
            return f'{count} {unit}' + (f' {parts} {smaller}' if parts else '')
    return f'{whole} s'


def age(seconds: float) -> str:
    """Return how long ago something was, in one unit: ``3 h ago``.

    :param seconds: since then, rounded down; negative for a future time.
    :returns: the text; ``in the future`` for a negative value.
    """
    if seconds < 0:
        return 'in the future'
    for factor, unit in _TIMES[:-1]:
        if seconds >= factor:
            return f'{int(seconds // factor)} {unit} ago'
    return f'{int(seconds)} s ago'


def printable(text: str) -> str:
    """Escape control characters, so that a text is safe on a terminal.

    The name of an image is chosen by the user that creates it, and may
    contain sequences that move the cursor.

    :param text: any text.
    :returns: the text on one line; characters that are not printable are
        escaped as in a Python string.
    """
    if text.isprintable():
        return text
    return ''.join(
        each
        if each.isprintable()
        else each.encode('unicode_escape').decode('ascii')
        for each in text
    )


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line, without a final period.

    :param error: the error. If it has no message, the name of its class is
        used.
    :returns: the text, never empty.
    """
    return (' '.join(str(error).split()) or type(error).__name__).rstrip('.')


def listed(names: Mapping[str, str | None]) -> str:
    """Return a list of images as text: ``ID (name), ID (name) and 3 more``.

    :param names: image names by image ID; None for an image without a name.
    :returns: the first five images, and how many more there are.
    """
    shown = [
        f'{image_id} ({name or "no name"})' for image_id, name in names.items()
    ]
    more = len(shown) - _LISTED
    return ', '.join(shown[:_LISTED]) + (
        f' and {more} more' if more > 0 else ''
    )
