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

"""The command ``history``: the event log of the cache."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Final

from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import durations
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules

#: Actions of the history, and what they mean.
ACTIONS: Final = {
    'hit': 'a disk was copied from a cached image',
    'miss': 'a disk was filled from Glance, and the image cached',
    'bypass': 'a disk was filled from Glance, and the image not cached',
    'shared-pool': 'a disk was created by a pool that caches images itself',
    'delete': 'a disk was deleted',
    'prefetch': 'an image was fetched into the cache',
    'evict': 'an image was removed by an eviction policy',
    'purge': 'an image was removed by an operator',
    'cleanup': 'a cleanup run changed something, or its errors changed',
    'pin': 'an image was protected from eviction',
    'unpin': 'that protection was removed',
    'rename': 'the name of an image in Glance changed',
    'adopt': 'an untracked disk was registered as a cached image',
    'take-over': 'the disks of another catalog became those of this one',
    'discard': 'a stale disk or record was removed',
    'quarantine': 'an image is no longer served',
    'refuse': 'a disk was not created: another volume group has its name',
}
_DEFAULT_LIMIT: Final = 50


class ShowHistory(base.Lister):
    """Show the cache's event log, newest first.

    The last 10,000 events are kept. A table shows image IDs only if the names
    are ambiguous, and hides the machine-oriented columns unless you use
    --long. Other formats have all columns.
    """

    rule = rules.HISTORY
    columns = (
        'Time',
        'User',
        'Action',
        'Image',
        'Name',
        'Disk',
        'Fetched',
        'Saved',
        'Seconds',
        'Code',
        'Reason',
    )
    empty_message = 'No matching events.'
    machine_oriented = ('Fetched', 'Saved', 'Seconds', 'Code')
    examples = (
        ('history', f'the last {_DEFAULT_LIMIT} events'),
        (
            'history --image debian-13 --limit 0',
            'all events of an image',
        ),
        (
            'history --action purge --action evict --since 7d',
            'removals of the last week',
        ),
        ('history --since 2026-01-31 -f json', 'machine-readable'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--long', action='store_true', help='show all columns in a table'
        )
        parser.add_argument(
            '--image',
            metavar='IMAGE',
            help='only events of an image: its ID, a unique prefix of it, or '
            'a name, which matches all images that had it',
        )
        base.add_name(parser)
        parser.add_argument(
            '--action',
            metavar='ACTION',
            action='append',
            choices=tuple(ACTIONS),
            default=[],
            help='only events of an action; may be repeated. Actions are: '
            f'{", ".join(ACTIONS)}',
        )
        parser.add_argument(
            '--since',
            metavar='TIME',
            type=durations.parse_since,
            help='only events since a time: 12h or 30d ago, or a date in UTC',
        )
        parser.add_argument(
            '--limit',
            metavar='COUNT',
            type=_count,
            default=_DEFAULT_LIMIT,
            help='maximum number of events, 0 for all (default: %(default)s)',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """List the events.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        events = self.app.reader.history(
            image=parsed_args.image,
            by_name=parsed_args.by_name,
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

    def human_readable_columns(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> list[str]:
        """Return the columns of a table without --long.

        :param columns: names of all columns.
        :param rows: the rows.
        :returns: the columns, without image IDs if the names are unique.
        """
        by_name: dict[str | None, set[str]] = {}
        for row in rows:
            image, name = (
                row[columns.index(each)] for each in ('Image', 'Name')
            )
            if image.machine_readable():
                by_name.setdefault(name, set()).add(image.machine_readable())
        unique = None not in by_name and all(
            len(each) == 1 for each in by_name.values()
        )
        return [
            each
            for each in super().human_readable_columns(columns, rows)
            if each != 'Image' or not unique
        ]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(10**9)):
        raise argparse.ArgumentTypeError(
            f'"{text}" is not a number of events: it must be 0 or more'
        )
    return int(text)
