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

"""The commands ``list``, ``show`` and ``prefetch``."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules

if TYPE_CHECKING:
    from pvm_imagecache import image as image_module

_LONG: Final = ('Last Modified', 'Disk Size', 'Disk', 'Pinned', 'In Use')


class ListImages(base.Lister):
    """List the cached images of this host.

    The least recently used image is first. In a table, IDs are shortened to
    the prefix that distinguishes the images. Other formats have full IDs. A
    warning is shown if the pool had base images of another catalog when it
    was read last: see "usage".
    """

    rule = rules.LIST
    empty_message = 'No image is cached.'
    columns = ('ID', 'Name', 'State', 'Size', 'Hits', 'Last Accessed', *_LONG)
    examples = (
        ('list', 'the cached images'),
        (
            'list --long',
            'also show disks, and which images are pinned or in use',
        ),
        (
            'list --sort-column Hits --sort-descending',
            'the most used image first',
        ),
        ('list -f value -c ID', 'the IDs, for a script'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--long', action='store_true', help='show more columns'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """List the images.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        # A column that is selected by name is shown without --long, too.
        long = parsed_args.long or bool(
            {
                base.normalized(each)
                for each in (*parsed_args.columns, *parsed_args.sort_columns)
            }
            & {base.normalized(each) for each in _LONG}
        )
        reader = self.app.reader
        found = reader.list()
        others = reader.other_catalogs()
        if not others and self.app.asked_powervm:
            # No process has recorded anything in this state directory.
            others = self.app.manager.usage().other_catalogs
        for each in others:
            self.app.LOG.warning(
                'The pool has %d base image(s) of another catalog (%s), '
                'which are not listed: see "pvm-imagecache usage".',
                each.base_images,
                each.catalog,
            )
        id_of = formatting.ids(each.image.id for each in found)
        rows = [
            (
                id_of(each.image.id),
                each.image.name,
                each.state.value,
                formatting.Size(each.image.size),
                each.hits,
                formatting.Time(each.last_used_at),
            )
            for each in found
        ]
        if not long:
            return self.columns[: -len(_LONG)], rows
        pins, in_use = reader.pins(), reader.in_use()
        return self.columns, [
            (
                *row,
                formatting.Time(each.ready_at),
                formatting.Size(each.capacity),
                each.disk_name,
                each.image.id in pins,
                each.image.id in in_use,
            )
            for row, each in zip(rows, found, strict=True)
        ]


class ShowImage(base.ShowOne):
    """Show the details of a cached image."""

    rule = rules.SHOW
    columns = (
        'id',
        'name',
        'state',
        'reason',
        'disk',
        'udid',
        'disk_size',
        'size',
        'virtual_size',
        'disk_format',
        'os_hash_algo',
        'os_hash_value',
        'checksum',
        'hits',
        'bytes_done',
        'fetched_by',
        'created_at',
        'ready_at',
        'last_accessed',
        'last_seen_in_use',
        'pinned_by',
        'pin_note',
        'pinned_until',
    )
    examples = (
        ('show debian-13', 'an image by name'),
        ('show 719a -f json', 'by ID prefix, machine-readable'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument('image', metavar='IMAGE', help=base.IMAGE_HELP)
        base.add_name(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        """Show the image.

        :param parsed_args: arguments of the command.
        :returns: names and values of the fields.
        :raises PVMImageCacheError: if it fails.
        """
        reader = self.app.reader
        found = reader.find(parsed_args.image, by_name=parsed_args.by_name)
        image = found.image
        pin = reader.pins().get(image.id)
        return self.columns, (
            image.id,
            image.name,
            found.state.value,
            found.reason,
            found.disk_name,
            found.udid,
            formatting.Size(found.capacity),
            formatting.Size(image.size),
            formatting.Size(image.virtual_size),
            image.disk_format,
            image.os_hash_algo,
            image.os_hash_value,
            image.checksum,
            found.hits,
            formatting.Size(found.bytes_done),
            found.holder,
            formatting.Time(found.created_at),
            formatting.Time(found.ready_at),
            formatting.Time(found.last_used_at),
            formatting.Time(reader.in_use().get(image.id)),
            pin.who if pin else None,
            pin.note if pin else None,
            formatting.Until(pin.seconds_left if pin else None),
        )


class PrefetchImages(base.Lister):
    """Fetch images into the cache before they are needed.

    All images are looked up before the first one is fetched. If one fetch
    fails, the others continue, and the exit code is 1.
    """

    rule = rules.PREFETCH
    columns = ('ID', 'Name', 'Result', 'Fetched', 'Seconds', 'Disk')
    examples = (
        ('prefetch debian-13 rhel-10', 'two images'),
        ('prefetch -q debian-13 -f json', 'in a script'),
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
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Fetch the images, one after the other.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        found = [
            self.app.source.find(
                each, latest=parsed_args.latest, by_name=parsed_args.by_name
            )
            for each in parsed_args.images
        ]
        images = list({each.id: each for each in found}.values())
        return self.columns, formatting.with_ids(
            self._fetch(each, len(images) == 1) for each in images
        )

    def _fetch(self, image: 'image_module.Image', only: bool) -> Sequence[Any]:
        from pvm_imagecache.cmd import progress

        reporter = progress.Reporter(image.name or image.id, self.app.quiet)
        try:
            done = self.app.manager.prefetch(image, progress=reporter)
        except exceptions.PVMImageCacheError as error:
            if only:
                raise
            reporter.close()
            self.app.LOG.error(error)
            self.fail()
            return (
                image.id,
                image.name,
                f'failed: {error}',
                formatting.Size(None),
                None,
                None,
            )
        finally:
            reporter.close()
        return (
            image.id,
            image.name,
            'fetched' if done.fetched else 'already cached',
            formatting.Size(done.bytes_fetched),
            round(done.seconds, 2),
            done.disk_name,
        )
