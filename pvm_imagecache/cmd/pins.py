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

"""The commands ``pin`` and ``unpin``."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from pvm_imagecache.catalog import models
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import durations
from pvm_imagecache.cmd import formatting
from pvm_imagecache.cmd import pinnable_image
from pvm_imagecache.policies import rules


def _note(text: str) -> str:
    if len(text) > models.LONGEST_NOTE:
        raise argparse.ArgumentTypeError(
            f'the note has {len(text)} characters; at most '
            f'{models.LONGEST_NOTE} are kept'
        )
    return text


class PinImages(base.Lister):
    """Protect images from eviction.

    An image that is not cached can be pinned, too: it is protected as soon as
    it is cached. A name is looked up in Glance first, because an image may
    have been renamed since it was cached. An ID of a cached image works
    without Glance.
    """

    rule = rules.PIN
    columns = ('ID', 'Name', 'Result')
    examples = (
        (
            'pin rhel-10 --for 30d --note "month-end rollout"',
            'for a month',
        ),
        ('pin rhel-10', 'until it is unpinned'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='+', help=base.IMAGE_HELP
        )
        base.add_name(parser)
        parser.add_argument(
            '--for',
            dest='seconds',
            metavar='TIME',
            type=durations.parse,
            help='duration, for example 30d or 12h (default: until it is '
            'unpinned)',
        )
        parser.add_argument(
            '--note',
            metavar='TEXT',
            type=_note,
            default='',
            help='why, for other operators; at most '
            f'{models.LONGEST_NOTE} characters',
        )
        base.add_latest(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Pin the images.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        manager = self.app.manager
        found = [
            pinnable_image.find(
                self.app,
                each,
                latest=parsed_args.latest,
                by_name=parsed_args.by_name,
            )
            for each in parsed_args.images
        ]
        for image_id, name in found:
            manager.record_name(image_id, name)
            manager.pin(image_id, parsed_args.note, parsed_args.seconds, name)
        return self.columns, formatting.with_ids(
            (image_id, name, 'pinned') for image_id, name in found
        )


class UnpinImages(base.Lister):
    """Remove the protection of pinned images."""

    rule = rules.PIN
    columns = ('ID', 'Name', 'Result')
    examples = (('unpin rhel-10', 'policies may evict it again'),)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='+', help=base.IMAGE_HELP
        )
        base.add_name(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Unpin the images.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        reader = self.app.manager.reader()
        found = [
            reader.find_pinned(each, by_name=parsed_args.by_name)
            or pinnable_image.find(self.app, each, by_name=parsed_args.by_name)
            for each in parsed_args.images
        ]
        return self.columns, formatting.with_ids(
            (
                image_id,
                name,
                'unpinned'
                if self.app.manager.unpin(image_id, name)
                else 'not pinned',
            )
            for image_id, name in found
        )
