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

"""The commands ``disk create`` and ``disk delete``: a test of a host."""

import argparse
from collections.abc import Sequence
import decimal
from typing import Any
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import confirmation
from pvm_imagecache.cmd import formatting
from pvm_imagecache.cmd import progress
from pvm_imagecache.policies import rules
from pvm_imagecache.system import interrupts
from pvm_imagecache.system import terminal

_GIB: Final = 1 << 30
#: Larger than any volume group.
_MOST_GIB: Final = 1 << 30


class CreateDisk(base.ShowOne):
    """Create a disk from an image through the cache (what nova does).

    The first disk of an image downloads it (miss). Later disks are copies
    within the volume group (hit).
    """

    rule = rules.CREATE_DISK
    columns = (
        'name',
        'udid',
        'size',
        'image',
        'image_size',
        'outcome',
        'reason',
        'bytes_from_glance',
        'seconds',
    )
    examples = (
        ('disk create debian-13 smoketest', 'check that deploys work'),
        (
            'disk create debian-13 smoketest --size 20',
            'a disk that is larger than its image',
        ),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument('image', metavar='IMAGE', help=base.IMAGE_HELP)
        base.add_name(parser)
        parser.add_argument(
            'name',
            metavar='NAME',
            help='name of the new disk, at most 15 characters',
        )
        parser.add_argument(
            '--size',
            metavar='GIB',
            type=_gib,
            default=0,
            help='size of the disk in GiB (default: the size of the image)',
        )
        base.add_latest(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        """Create the disk. If it is interrupted meanwhile, delete it.

        :param parsed_args: arguments of the command.
        :returns: names and values of the fields.
        :raises PVMImageCacheError: if it fails.
        """
        image = self.app.source.find(
            parsed_args.image,
            latest=parsed_args.latest,
            by_name=parsed_args.by_name,
        )
        reporter = progress.Reporter(parsed_args.name, self.app.quiet)
        try:
            with interrupts.deferred():
                done = self.app.manager.create_disk(
                    image,
                    parsed_args.name,
                    parsed_args.size,
                    progress=reporter,
                )
                if interrupts.is_pending():
                    # The user does not expect a disk after Ctrl-C.
                    self.app.manager.delete_disk(parsed_args.name)
        finally:
            reporter.close()
        return self.columns, (
            done.disk.name,
            done.disk.udid,
            formatting.Size(done.disk.capacity),
            image.id,
            formatting.Size(image.size),
            done.outcome.value,
            done.reason,
            formatting.Size(done.bytes_fetched),
            round(done.seconds['total'], 2),
        )


class DeleteDisk(base.Command):
    """Delete an instance disk. Cached images are not affected.

    The command shows the size and the origin of the disk. A disk that the
    cache does not know is refused, unless --force is used: it may belong to
    another program. A disk that belongs to another catalog, such as that of
    another host, is refused, unless --take-over is used.
    """

    rule = rules.DELETE_DISK
    examples = (
        ('disk delete smoketest', 'delete a test disk'),
        ('disk delete smoketest --yes', 'in a script'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument('name', metavar='NAME', help='name of the disk')
        parser.add_argument(
            '--force',
            action='store_true',
            help='delete the disk even if the cache does not know it',
        )
        parser.add_argument(
            '--take-over',
            action='store_true',
            help='delete the disk even if it belongs to another catalog, '
            'which must no longer be used',
        )
        confirmation.add_yes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Delete the disk, after confirmation.

        :param parsed_args: arguments of the command.
        :raises PVMImageCacheError: if it fails.
        """
        manager = self.app.manager
        found = manager.origin_of(parsed_args.name)
        if found.catalog and not parsed_args.take_over:
            raise exceptions.DiskOfOtherCatalog(
                name=found.disk.name, catalog=found.catalog
            )
        if not found.known and not parsed_args.force:
            raise exceptions.DiskUnknown(description=found.description)
        if parsed_args.yes:
            if not self.app.quiet:
                terminal.write(f'{found.description}.')
        else:
            confirmation.ask(
                'Delete this disk and its data?',
                [f'{found.description}.'],
                'Nothing was deleted.',
            )
        disk = manager.delete_disk(parsed_args.name, udid=found.disk.udid)
        print(f'Deleted disk {disk.name} ({disk.udid}).', file=self.app.stdout)


def _gib(text: str) -> int:
    """Parse a size in GiB, and return it in bytes."""
    try:
        size = decimal.Decimal(text)
        if size.is_finite() and 0 < size <= _MOST_GIB:
            return max(1, int(size * _GIB))
    except ArithmeticError:
        pass
    raise argparse.ArgumentTypeError(
        f'"{text}" is not a size in GiB: it must be a number greater than 0 '
        f'and not greater than {_MOST_GIB}'
    )
