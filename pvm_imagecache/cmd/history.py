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

"""The command that tells who did what, when and why."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Final

from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import durations
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules

#: What is written to the history, and what it means.
ACTIONS: Final = {
    'hit': 'a disk was copied from the cache',
    'miss': 'a disk was filled from Glance, and its image cached',
    'bypass': 'a disk was filled from Glance, past the cache',
    'pool': 'a disk was made by a pool that keeps images itself',
    'delete': 'a disk was deleted',
    'prefetch': 'an image was fetched into the cache',
    'evict': 'an image was removed by a policy',
    'purge': 'an image was removed by an operator',
    'pass': 'the cache was tidied and policies asked: it had something to '
    'do, or another trouble than before',
    'pin': 'an image is to stay',
    'unpin': 'an image may go again',
    'adopt': 'a disk was taken into the cache',
    'tidy': 'what a dead process had left was removed',
    'quarantine': 'an image is served no more',
}
_DEFAULT_LIMIT: Final = 50


class ShowHistory(base.Lister):
    """Tell who did what, when and why; the newest comes first.

    The last ten thousand events are kept. A table shows the columns that
    people ask for first, and the ids of images only where their names do not
    tell them apart, unless it is to be --long; other formats have
    everything.
    """

    rule = rules.HISTORY
    columns = (
        'Time',
        'Who',
        'Action',
        'Image',
        'Name',
        'Disk',
        'Fetched',
        'Saved',
        'Seconds',
        'Code',
        'Why',
    )
    nothing = 'There are no such events.'
    for_programs = ('Fetched', 'Saved', 'Seconds', 'Code')
    examples = (
        ('history', f'the last {_DEFAULT_LIMIT} events'),
        (
            'history --image debian-13 --limit 0',
            'all that was done to an image',
        ),
        (
            'history --action purge --action evict --since 7d',
            'what went during the last week',
        ),
        ('history --since 2026-01-31 -f json', 'for a program'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--long', action='store_true', help='all columns in a table, too'
        )
        parser.add_argument(
            '--image',
            metavar='IMAGE',
            help='only what was done to one image: its id, a unique start '
            'of it, or its name; all images that had that name',
        )
        parser.add_argument(
            '--action',
            metavar='ACTION',
            action='append',
            choices=tuple(ACTIONS),
            default=[],
            help='only such events; may be repeated. There are: '
            f'{", ".join(ACTIONS)}',
        )
        parser.add_argument(
            '--since',
            metavar='TIME',
            type=durations.parse_since,
            help='only what is not older: 12h or 30d, or a date in UTC',
        )
        parser.add_argument(
            '--limit',
            metavar='COUNT',
            type=_count,
            default=_DEFAULT_LIMIT,
            help='how many events at most, 0 for all (default: %(default)s)',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        events = self.app.records.history(
            image=parsed_args.image,
            since=parsed_args.since,
            actions=parsed_args.action,
            limit=parsed_args.limit or None,
        )
        id_of = formatting.ids(each.image_id for each in events)
        rows = [
            (
                formatting.Time(each.at),
                each.who,
                each.action,
                id_of(each.image_id),
                each.image_name,
                each.disk_name,
                formatting.Size(each.bytes_fetched),
                formatting.Size(each.bytes_saved),
                None if each.seconds is None else round(each.seconds, 2),
                each.code,
                each.detail,
            )
            for each in events
        ]
        return self.columns, rows

    def for_people(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> list[str]:
        """Without ids where the names tell the images apart, too."""
        by_name: dict[str | None, set[str]] = {}
        for row in rows:
            image, name = (
                row[columns.index(each)] for each in ('Image', 'Name')
            )
            if image.machine_readable():
                by_name.setdefault(name, set()).add(image.machine_readable())
        told_apart = None not in by_name and all(
            len(each) == 1 for each in by_name.values()
        )
        return [
            each
            for each in super().for_people(columns, rows)
            if each != 'Image' or not told_apart
        ]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(10**9)):
        raise argparse.ArgumentTypeError(
            f'"{text}" is not a count: it must be 0 or more'
        )
    return int(text)
