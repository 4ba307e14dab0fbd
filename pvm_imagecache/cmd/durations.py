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

"""Durations and times on the command line."""

import argparse
import datetime
import re
import time
from typing import Final

_UNITS: Final = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}


def parse(text: str) -> float:
    """Parse a duration.

    :param text: number and unit, for example ``90m``, ``12h``, ``30d`` or
        ``4w``.
    :returns: the duration in seconds.
    :raises ArgumentTypeError: if it is not a duration.
    """
    found = re.fullmatch(r'(\d{1,9})([smhdw])', text, re.ASCII)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(
            f'"{text}" is not a duration; examples: 90m, 12h, 30d, 4w'
        )
    return float(int(found[1]) * _UNITS[found[2]])


def parse_since(text: str) -> float:
    """Parse a time in the past.

    :param text: how long ago, for example ``12h``; or a date in ISO 8601, in
        UTC unless it has an offset.
    :returns: the time in Unix seconds.
    :raises ArgumentTypeError: if it is neither.
    """
    try:
        return time.time() - parse(text)
    except argparse.ArgumentTypeError:
        pass
    try:
        found = datetime.datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=datetime.UTC)
        return found.timestamp()
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f'"{text}" is neither a duration nor a date in UTC; examples: '
            '12h, 30d, 2026-01-31, 2026-01-31T12:00:00'
        ) from error
