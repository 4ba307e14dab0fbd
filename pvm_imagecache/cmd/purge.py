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

"""The command that takes images out of the cache, by an operator's word."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import confirmation
from pvm_imagecache.cmd import durations
from pvm_imagecache.cmd import formatting
from pvm_imagecache.cmd import glance_state
from pvm_imagecache.policies import rules


class PurgeImages(base.Lister):
    """Take images out of the cache.

    Disks that were made from them are not touched. Pinned images, and those
    that are being filled at the moment, stay. What instances use stays too,
    unless it is named: naming it harms no instance. --unused, --deleted and
    --older-than may be combined.
    """

    rule = rules.PURGE
    nothing = 'There is no such image.'
    columns = ('ID', 'Name', 'Disk Size', 'Result')
    examples = (
        ('purge debian-12', 'one image'),
        (
            'purge --older-than 30d --dry-run',
            'what nobody has used for a month',
        ),
        (
            'purge --unused --older-than 2d --yes',
            'from a script: what nobody ever made a second disk of',
        ),
        ('purge --deleted', 'what is not in Glance any more'),
        ('purge --all --yes', 'as a security notice asks for'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='*', help=base.IMAGE_HELP
        )
        parser.add_argument(
            '--all',
            action='store_true',
            help='every image that is neither pinned nor in use by instances',
        )
        parser.add_argument(
            '--unused',
            action='store_true',
            help='images that no disk was copied from so far, and no '
            'instance uses',
        )
        parser.add_argument(
            '--older-than',
            metavar='AGE',
            type=durations.parse,
            help='images that were not used for so long, 12h or 30d for '
            'example; the time for which the host was down does not '
            'count',
        )
        parser.add_argument(
            '--deleted',
            action='store_true',
            help='images that Glance does not have any more, or does not '
            'show to the credentials in use',
        )
        parser.add_argument(
            '--reason', metavar='TEXT', default='', help='why, for the history'
        )
        confirmation.add_dry_run(parser)
        confirmation.add_yes(parser)
        return parser

    def check(self, parsed_args: argparse.Namespace) -> None:
        chosen = (
            parsed_args.unused
            or parsed_args.deleted
            or parsed_args.older_than is not None
        )
        ways = sum(map(bool, (parsed_args.images, parsed_args.all, chosen)))
        if not ways:
            raise exceptions.UsageError(
                reason='Say what to purge: IMAGE, --all, --unused, '
                '--older-than or --deleted.'
            )
        if ways > 1:
            raise exceptions.UsageError(
                reason='Images, --all, and the others that say which '
                'images go can not be combined.'
            )

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        manager = self.app.manager
        doomed = self._chosen(manager.records, parsed_args)
        named = bool(parsed_args.images)
        if parsed_args.dry_run:
            return self.columns, formatting.with_ids(
                _row(each, reason, 'would go')
                for each, reason in manager.forecast(
                    doomed, spare_in_use=not named
                )
            )
        if doomed and not parsed_args.yes:
            size = text.size(sum(each.capacity or 0 for each in doomed))
            confirmation.ask(
                f'Purge {len(doomed)} image(s), {size}, from the cache?',
                [f'{each.image.id} {each.image.name}' for each in doomed],
                'Nothing was purged.',
            )
        results = manager.purge(
            doomed, spare_in_use=not named, reason=parsed_args.reason
        )
        if any(not each.removed for each in results):
            self.fail()
        return self.columns, formatting.with_ids(
            _row(each.base_image, each.reason, 'purged') for each in results
        )

    def _chosen(
        self, records: Any, parsed_args: argparse.Namespace
    ) -> Sequence[Any]:
        if parsed_args.images:
            return list(
                {
                    found.disk_name: found
                    for found in map(records.find, parsed_args.images)
                }.values()
            )
        chosen = records.list()
        if parsed_args.unused:
            in_use = records.in_use()
            chosen = [
                each
                for each in chosen
                if not each.hits and each.image.id not in in_use
            ]
        if parsed_args.older_than is not None:
            chosen = [
                each
                for each in chosen
                if records.age(each) > parsed_args.older_than
            ]
        if parsed_args.deleted:
            states = glance_state.states(
                self.app.source, [each.image for each in chosen]
            )
            chosen = [
                each
                for each in chosen
                if states[each.image.id] == glance_state.GONE
            ]
        return chosen


def _row(found: Any, reason: str, otherwise: str) -> Sequence[Any]:
    """:param reason: why it stays, if it does."""
    about = f'Image {found.image.id} is '
    result = f'stays: {reason.removeprefix(about)}' if reason else otherwise
    return (
        found.image.id,
        found.image.name,
        formatting.Size(found.capacity),
        result,
    )
