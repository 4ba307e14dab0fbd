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

"""The commands that have images stay, and let them go again."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import durations
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules


class PinImages(base.Lister):
    """Have images stay in the cache, whatever the policies say.

    Images that are not cached can be pinned too: they stay once they are.
    """

    rule = rules.PIN
    columns = ('ID', 'Name', 'Result')
    examples = (
        (
            'pin rhel-10 --for 30d --note "month-end rollout"',
            'an image that is needed for a month',
        ),
        ('pin rhel-10', 'for good'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='+', help=base.IMAGE_HELP
        )
        parser.add_argument(
            '--for',
            dest='seconds',
            metavar='TIME',
            type=durations.parse,
            help='for how long, 30d or 12h for example (default: until '
            'unpinned)',
        )
        parser.add_argument(
            '--note', metavar='TEXT', default='', help='why, for others'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        found = [_find(self.app, each) for each in parsed_args.images]
        for image_id, name in found:
            self.app.manager.pin(
                image_id, parsed_args.note, parsed_args.seconds, name
            )
        return self.columns, formatting.with_ids(
            (image_id, name, 'pinned') for image_id, name in found
        )


class UnpinImages(base.Lister):
    """Let pinned images go again."""

    rule = rules.PIN
    columns = ('ID', 'Name', 'Result')
    examples = (('unpin rhel-10', 'the policies may have it again'),)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='+', help=base.IMAGE_HELP
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        records = self.app.manager.records
        found = [
            records.find_pinned(each) or _find(self.app, each)
            for each in parsed_args.images
        ]
        return self.columns, formatting.with_ids(
            (
                image_id,
                name,
                'unpinned'
                if self.app.manager.unpin(image_id, name)
                else 'was not pinned',
            )
            for image_id, name in found
        )


def _find(app: Any, text: str) -> tuple[str, str | None]:
    """Id and name of an image: a cached one, or else one of Glance."""
    try:
        image = app.manager.find(text).image
    except exceptions.ImageNotCached:
        image = app.source.find(text)
    return image.id, image.name
