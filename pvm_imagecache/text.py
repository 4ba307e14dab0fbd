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

"""Human-readable text: sizes, times, names and errors."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Final

_SIZES: Final = (
    (1 << 40, 'TiB'),
    (1 << 30, 'GiB'),
    (1 << 20, 'MiB'),
    (1 << 10, 'KiB'),
)
_TIMES: Final = ((86400, 'd'), (3600, 'h'), (60, 'min'), (1, 's'))
#: How many names of a list are shown.
_SHOWN: Final = 5
#: Characters of an error of a plugin that are shown.
_LONGEST_ERROR: Final = 500


def size(count: int) -> str:
    """Return a size in the largest unit that fits: ``1.5 GiB``.

    :param count: bytes.
    :returns: the size, rounded to four digits.
    """
    for factor, unit in _SIZES:
        if count >= factor:
            return f'{count / factor:.4g} {unit}'
    return f'{count} B'


def size_exact(count: int) -> str:
    """Return a size with its exact number of bytes.

    :param count: bytes.
    :returns: ``1 GiB (1073741825 bytes)``.
    """
    return f'{size(count)} ({count} bytes)'


def duration(seconds: float) -> str:
    """Return a duration in at most two units: ``1 d 2 h``.

    :param seconds: the duration; less than ten have one decimal place.
    :returns: the duration, rounded to the smaller unit.
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
    """Return how long ago something was: ``3 h ago``.

    :param seconds: the age; a negative one is in the future.
    :returns: the age in one unit, rounded down.
    """
    if seconds < 0:
        return 'in the future'
    for factor, unit in _TIMES[:-1]:
        if seconds >= factor:
            return f'{int(seconds // factor)} {unit} ago'
    return f'{int(seconds)} s ago'


def printable(text: str) -> str:
    """Escape control characters so that text is safe on a terminal.

    A user chooses the names of their images, and could choose one that
    moves the cursor.

    :param text: any text.
    :returns: the text on one line.
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
    """Return the text of an error on one line, without a final period.

    :param error: any exception; one without a text is shown by its type.
    :returns: the text, for use within a sentence.
    """
    words = ' '.join(str(error).split())
    return words.rstrip('. ') or type(error).__name__


def foreign_error(error: BaseException) -> str:
    """Return an error of a plugin on one line, with its class.

    :param error: the error; its ``__str__`` is of the plugin, too, and may
        raise an error.
    :returns: ``ValueError: the text``.
    """
    kind, shown = _foreign(error)
    return f'{kind}: {shown}' if shown else kind


def foreign_message(error: BaseException) -> str:
    """Return the text of an error of a plugin, for use within a sentence.

    :param error: as for :func:`foreign_error`.
    :returns: the text on one line, without a final period; the class of the
        error if it has no text.
    """
    kind, shown = _foreign(error)
    return shown.rstrip('. ') or kind


def foreign_value(value: object) -> str:
    """Return an object of a plugin on one line.

    :param value: the object; its ``__repr__`` may raise an error.
    :returns: its representation; its class if it has none.
    """
    return _foreign_text(repr, value) or f'an object of {_class_of(value)}'


def _foreign(error: BaseException) -> tuple[str, str]:
    """Return class and text of an error of a plugin."""
    return _class_of(error), _foreign_text(str, error)


def _class_of(value: object) -> str:
    return printable(type(value).__name__)[:_LONGEST_ERROR]


def _foreign_text(show: Callable[[object], str], value: object) -> str:
    """Return what a function of a plugin returns; '' after an error."""
    try:
        return printable(' '.join(show(value).split()))[:_LONGEST_ERROR]
    except KeyboardInterrupt:
        # Of the user.
        raise
    except BaseException:
        # Also SystemExit.
        return ''


def listed(names: Mapping[str, str | None]) -> str:
    """Return a list of images for a message.

    :param names: the name of each image by its ID; None if it has none.
    :returns: ``ID (name), ...``, at most five of them, and how many more
        there are.
    """
    shown = [
        f'{image_id} ({name or "no name"})'
        for image_id, name in list(names.items())[:_SHOWN]
    ]
    more = len(names) - len(shown)
    return ', '.join(shown) + (f' and {more} more' if more else '')
