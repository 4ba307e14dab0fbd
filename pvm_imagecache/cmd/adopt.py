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

"""The command ``adopt``: untracked disks become cached images."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import TYPE_CHECKING

from pvm_imagecache import text
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import confirmation
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules

if TYPE_CHECKING:
    from pvm_imagecache import image as image_module
    from pvm_imagecache.drivers import base as drivers


class AdoptImages(base.Lister):
    """Register existing base disks as cached images.

    An untracked disk has the name of a base image, but no record in the
    catalog. nova-powervm, for example, leaves such disks. Untracked disks are
    not served, because they may be incomplete. Adopt a disk only if you know
    that it holds all bytes of its image: every later deploy of the image gets
    these bytes. "verify" lists the untracked disks.

    A disk that belongs to another catalog is adopted only with --take-over.
    Use it only if that catalog is no longer used. Otherwise both catalogs
    have the disk, and each of them can delete it.
    """

    rule = rules.ADOPT
    dry_run_rule = rules.EXPLAIN
    columns = ('ID', 'Name', 'Disk', 'Disk Size', 'Result')
    examples = (
        ('adopt rhel-9 --dry-run', 'check whether a disk can be adopted'),
        ('adopt rhel-9', 'register it'),
        (
            'adopt rhel-9 --take-over',
            'register a disk of a state directory that was lost',
        ),
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
        base.add_latest(parser)
        parser.add_argument(
            '--take-over',
            action='store_true',
            help='adopt disks even if they belong to another catalog, which '
            'must no longer be used',
        )
        confirmation.add_dry_run(
            parser, 'show what would be adopted, change nothing'
        )
        confirmation.add_yes(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Register the disks, after confirmation.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        manager = self.app.manager
        found = [
            self.app.source.find(
                each, latest=parsed_args.latest, by_name=parsed_args.by_name
            )
            for each in parsed_args.images
        ]
        images = list({each.id: each for each in found}.values())
        # If one disk cannot be adopted, none is.
        disks = [
            manager.adoptable(each, take_over=parsed_args.take_over)
            for each in images
        ]
        if parsed_args.dry_run:
            return self.columns, formatting.with_ids(
                _row(image, disk, 'would be adopted')
                for image, disk in zip(images, disks, strict=True)
            )
        if not parsed_args.yes:
            confirmation.ask(
                'Do these disks hold all bytes of their images, unchanged?',
                [
                    f'Disk {disk.name} ({text.size(disk.capacity)}): image '
                    f'{image.name} ({image.id})'
                    for image, disk in zip(images, disks, strict=True)
                ],
                'Nothing was adopted.',
            )
        for each in images:
            manager.adopt(each, take_over=parsed_args.take_over)
        return self.columns, formatting.with_ids(
            _row(image, disk, 'adopted')
            for image, disk in zip(images, disks, strict=True)
        )


def _row(
    image: 'image_module.Image', disk: 'drivers.Disk', result: str
) -> Sequence[Any]:
    return (
        image.id,
        image.name,
        disk.name,
        formatting.Size(disk.capacity),
        result,
    )
