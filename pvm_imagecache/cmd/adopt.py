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

"""The command that takes disks into the cache which it did not fill."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from pvm_imagecache import text
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import confirmation
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules


class AdoptImages(base.Lister):
    """Serve images from disks that the cache did not fill.

    They have the names of base images; nova-powervm left such disks, for
    example. They are never served by themselves: nothing tells whether they
    hold all of their image. Adopt one only if you know that it does: every
    later deploy gets its bytes. "verify" lists those that there are.
    """

    rule = rules.ADOPT
    columns = ('ID', 'Name', 'Disk', 'Disk Size', 'Result')
    examples = (
        ('adopt rhel-9 --dry-run', 'whether there is such a disk'),
        ('adopt rhel-9', 'serve deploys from it'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='+', help=base.IMAGE_HELP
        )
        confirmation.add_dry_run(parser, 'only show what would be taken over')
        confirmation.add_yes(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        manager = self.app.manager
        found = [self.app.source.find(each) for each in parsed_args.images]
        images = list({each.id: each for each in found}.values())
        # Nothing is taken over if one of them can't be.
        disks = [manager.adoptable(each) for each in images]
        if parsed_args.dry_run:
            return self.columns, formatting.with_ids(
                _row(image, disk, 'would be adopted')
                for image, disk in zip(images, disks, strict=True)
            )
        if not parsed_args.yes:
            confirmation.ask(
                'Do these disks hold all bytes of their images, unchanged?',
                [
                    f'{disk.name} {text.size(disk.capacity)}: image '
                    f'{image.id} {image.name}'
                    for image, disk in zip(images, disks, strict=True)
                ],
                'Nothing was adopted.',
            )
        for each in images:
            manager.adopt(each)
        return self.columns, formatting.with_ids(
            _row(image, disk, 'adopted')
            for image, disk in zip(images, disks, strict=True)
        )


def _row(image: Any, disk: Any, result: str) -> Sequence[Any]:
    return (
        image.id,
        image.name,
        disk.name,
        formatting.Size(disk.capacity),
        result,
    )
