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

"""What people read, in tables, messages and logs: sizes, times, names."""

from collections.abc import Mapping
from typing import Final

_SIZES: Final = (
    (1 << 40, 'TiB'),
    (1 << 30, 'GiB'),
    (1 << 20, 'MiB'),
    (1 << 10, 'KiB'),
)
#: Images that an enumeration names.
_LISTED: Final = 5
_TIMES: Final = ((86400, 'd'), (3600, 'h'), (60, 'min'), (1, 's'))


def size(count: int) -> str:
    """Bytes: ``1.5 GiB``."""
    for factor, unit in _SIZES:
        if count >= factor:
            return f'{count / factor:.4g} {unit}'
    return f'{count} B'


def size_exact(count: int) -> str:
    """Bytes where every one of them counts: ``1 GiB (1073741825 bytes)``."""
    return f'{size(count)} ({count} bytes)'


def duration(seconds: float) -> str:
    """How long something takes or took: ``1 d 2 h``, in two units at most.

    Less than ten seconds have a digit after the point.
    """
    if seconds < 10:
        return f'{round(seconds, 1):g} s'
    # Rounded to the smaller one of the units, so that 59.7 s are a minute.
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
    """How long ago something was: ``3 h ago``."""
    if seconds < 0:
        return 'in the future'
    for factor, unit in _TIMES[:-1]:
        if seconds >= factor:
            return f'{int(seconds // factor)} {unit} ago'
    return f'{int(seconds)} s ago'


def printable(text: str) -> str:
    """A text that does nothing to a terminal but to be shown on one line.

    Whoever may make an image chooses its name, and may choose one that
    moves the cursor.
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
    """Return the message of an error without line breaks or a final stop.

    :param error: one without a message gives the name of its class.
    :returns: the text, never empty.
    """
    return (' '.join(str(error).split()) or type(error).__name__).rstrip('.')


def listed(names: Mapping[str, str | None]) -> str:
    """Return images as an enumeration: ``id (name), id (name) and 3 more``.

    :param names: by image ID, the name of the image, if it has one.
    :returns: the first five, and how many more there are.
    """
    shown = [
        f'{image_id} ({name or "no name"})' for image_id, name in names.items()
    ]
    more = len(shown) - _LISTED
    return ', '.join(shown[:_LISTED]) + (
        f' and {more} more' if more > 0 else ''
    )
