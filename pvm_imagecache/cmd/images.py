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

"""The commands about cached images: list, show, prefetch, purge."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Final

from pvm_imagecache.cmd import asking
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import formatting
from pvm_imagecache.cmd import progress

_IMAGE_HELP: Final = 'the id of an image, a unique start of it, or its name'


class ListImages(base.Lister):
    """List the images that this host has cached."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        columns = ('ID', 'Name', 'State', 'Size', 'Disk Size', 'Hits',
                   'Last Accessed', 'Disk')
        return columns, [
            (each.image.id, each.image.name, each.state.value,
             formatting.Size(each.image.size),
             formatting.Size(each.capacity), each.hits,
             formatting.Time(each.last_used_at), each.disk_name)
            for each in self.app.manager.list()]


class ShowImage(base.ShowOne):
    """Show all that is known of a cached image."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('image', metavar='IMAGE', help=_IMAGE_HELP)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        found = self.app.manager.find(parsed_args.image)
        image = found.image
        fields = {
            'id': image.id,
            'name': image.name,
            'state': found.state.value,
            'reason': found.reason,
            'disk': found.disk_name,
            'udid': found.udid,
            'disk_size': formatting.Size(found.capacity),
            'size': formatting.Size(image.size),
            'virtual_size': formatting.Size(image.virtual_size),
            'disk_format': image.disk_format,
            'os_hash_algo': image.os_hash_algo,
            'os_hash_value': image.os_hash_value,
            'checksum': image.checksum,
            'hits': found.hits,
            'bytes_done': formatting.Size(found.bytes_done),
            'filled_by': found.holder,
            'created_at': formatting.Time(found.created_at),
            'ready_at': formatting.Time(found.ready_at),
            'last_accessed': formatting.Time(found.last_used_at),
        }
        return tuple(fields), tuple(fields.values())


class PrefetchImages(base.Lister):
    """Fetch images into the cache, so that even the first deploy is fast."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='+', help=_IMAGE_HELP)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        # Look all of them up before the first is fetched.
        images = [self.app.source.find(each) for each in parsed_args.images]
        rows = []
        for image in images:
            reporter = progress.Reporter(image.name or image.id)
            try:
                result = self.app.manager.prefetch(image, progress=reporter)
            finally:
                reporter.close()
            rows.append((
                image.id, image.name,
                'fetched' if result.fetched else 'was cached already',
                formatting.Size(result.bytes_fetched),
                round(result.seconds, 2), result.disk_name))
        return ('ID', 'Name', 'Result', 'Bytes From Glance', 'Seconds',
                'Disk'), rows


class PurgeImages(base.Lister):
    """Take images out of the cache; disks made from them are not touched.

    Pinned images, and those that are being filled at the moment, stay.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            'images', metavar='IMAGE', nargs='*', default=[],
            help=_IMAGE_HELP)
        which.add_argument(
            '--all', action='store_true',
            help='every image that is neither pinned nor in use by '
                 'instances')
        parser.add_argument(
            '--dry-run', action='store_true',
            help='only show what would go')
        asking.add_yes(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        manager = self.app.manager
        doomed = manager.list() if parsed_args.all else list(
            {found.disk_name: found for found in
             map(manager.find, parsed_args.images)}.values())
        columns = ('ID', 'Name', 'Disk Size', 'Result')
        if parsed_args.dry_run:
            return columns, [_row(each, 'would go') for each in doomed]
        if doomed and not parsed_args.yes:
            size = formatting.size(
                sum(each.capacity or 0 for each in doomed))
            asking.ask(
                f'Purge {len(doomed)} image(s), {size}, from the cache?',
                [f'{each.image.id} {each.image.name}' for each in doomed],
                'Nothing was purged.')
        results = manager.purge(doomed, spare_in_use=parsed_args.all)
        self._stayed = any(not each.removed for each in results)
        return columns, [
            _row(each.base_image,
                 'purged' if each.removed else f'stays: {each.reason}')
            for each in results]

    def run(self, parsed_args: argparse.Namespace) -> int:
        self._stayed = False
        return super().run(parsed_args) or int(self._stayed)


def _row(found: Any, result: str) -> Sequence[Any]:
    return (found.image.id, found.image.name,
            formatting.Size(found.capacity), result)
