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

"""The command ``purge``: an operator removes images from the cache."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import confirmation
from pvm_imagecache.cmd import deleted_images
from pvm_imagecache.cmd import durations
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules

if TYPE_CHECKING:
    from pvm_imagecache.catalog import models
    from pvm_imagecache.catalog import reader as catalog_reader

#: As many images may be purged as deleted, however few are cached.
_A_COUPLE: Final = 2


class PurgeImages(base.Lister):
    """Remove images from the cache.

    Instance disks are not affected. Pinned images, and images with a fetch or
    a copy in progress, are kept. Images in use by instances are kept unless
    you name them. You can combine --unused, --deleted and --older-than.

    --deleted needs proof that Glance had the images. It purges nothing if the
    configured Glance shows no images, or does not know the cached ones. If
    most of the cache would be purged, --force is required, too.
    """

    rule = rules.PURGE
    dry_run_rule = rules.EXPLAIN
    empty_message = 'No matching images.'
    columns = ('ID', 'Name', 'Disk Size', 'Result')
    examples = (
        ('purge debian-12', 'one image'),
        (
            'purge --older-than 30d --dry-run',
            'images not used for a month',
        ),
        (
            'purge --unused --older-than 2d --yes',
            'in a script: images never reused',
        ),
        ('purge --deleted', 'images deleted from Glance'),
        ('purge --all --yes', 'after a security advisory'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='*', help=base.IMAGE_HELP
        )
        base.add_name(parser)
        parser.add_argument(
            '--all',
            action='store_true',
            help='all images that are neither pinned nor in use by instances',
        )
        parser.add_argument(
            '--unused',
            action='store_true',
            help='images from which no disk was copied, and that no '
            'instance uses',
        )
        parser.add_argument(
            '--older-than',
            metavar='AGE',
            type=durations.parse,
            help='images that were not used for a duration, for example 12h '
            'or 30d; the time during which the host was down does not count',
        )
        parser.add_argument(
            '--deleted',
            action='store_true',
            help='images that were deleted from Glance, if that is proven; '
            'use credentials of an administrator',
        )
        parser.add_argument(
            '--force',
            action='store_true',
            help='with --deleted: purge even if most of the cached images '
            'were deleted from Glance',
        )
        parser.add_argument(
            '--reason',
            metavar='TEXT',
            default='',
            help='reason, for the history',
        )
        confirmation.add_dry_run(parser)
        confirmation.add_yes(parser)
        return parser

    def check(self, parsed_args: argparse.Namespace) -> None:
        """Check that the arguments select images in one way.

        :param parsed_args: arguments of the command.
        :raises UsageError: if they do not, or in several ways.
        """
        chosen = (
            parsed_args.unused
            or parsed_args.deleted
            or parsed_args.older_than is not None
        )
        ways = sum(map(bool, (parsed_args.images, parsed_args.all, chosen)))
        if not ways:
            raise exceptions.UsageError(
                reason='Nothing to purge given: name images, or use --all, '
                '--unused, --older-than or --deleted.'
            )
        if ways > 1:
            raise exceptions.UsageError(
                reason='IMAGE, --all, and the options --unused, --older-than '
                'and --deleted cannot be combined with each other.'
            )
        if parsed_args.force and not parsed_args.deleted:
            raise exceptions.UsageError(
                reason='--force can only be used with --deleted.'
            )

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Remove the images, after confirmation.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        manager = self.app.manager
        reader = manager.reader()
        chosen = self._choose(reader, parsed_args)
        kept: Sequence[Sequence[Any]] = ()
        would = 'would be purged'
        if parsed_args.deleted:
            chosen, kept = self._deleted(reader, chosen)
            error = _too_large(len(chosen), len(reader.list()))
            if error and not parsed_args.force:
                if not parsed_args.dry_run:
                    raise error
                self.app.LOG.error(error)
                self.fail()
                would = 'would be purged with --force'
        named = bool(parsed_args.images)
        if parsed_args.dry_run:
            rows = [
                _row(each, reason, would)
                for each, reason in manager.forecast(
                    chosen, spare_in_use=not named
                )
            ]
            return self.columns, formatting.with_ids([*rows, *kept])
        if chosen and not parsed_args.yes:
            size = text.size(sum(each.capacity or 0 for each in chosen))
            confirmation.ask(
                f'Purge {len(chosen)} image(s) ({size}) from the cache?',
                [f'{each.image.name} ({each.image.id})' for each in chosen],
                'Nothing was purged.',
            )
        results = manager.purge(
            chosen, spare_in_use=not named, reason=parsed_args.reason
        )
        if any(not each.removed for each in results):
            self.fail()
        rows = [
            _row(each.base_image, each.reason, 'purged') for each in results
        ]
        return self.columns, formatting.with_ids([*rows, *kept])

    def _choose(
        self,
        reader: 'catalog_reader.CatalogReader',
        parsed_args: argparse.Namespace,
    ) -> 'Sequence[models.BaseImage]':
        """Return the images that the arguments select."""
        if parsed_args.images:
            return list(
                {
                    found.disk_name: found
                    for found in (
                        reader.find(each, by_name=parsed_args.by_name)
                        for each in parsed_args.images
                    )
                }.values()
            )
        chosen = reader.list()
        if parsed_args.unused:
            in_use = reader.in_use()
            chosen = [
                each
                for each in chosen
                if not each.hits and each.image.id not in in_use
            ]
        if parsed_args.older_than is not None:
            chosen = [
                each
                for each in chosen
                if reader.age(each) > parsed_args.older_than
            ]
        return chosen

    def _deleted(
        self,
        reader: 'catalog_reader.CatalogReader',
        chosen: 'Sequence[models.BaseImage]',
    ) -> 'tuple[Sequence[models.BaseImage], Sequence[Sequence[Any]]]':
        """Return the images that were deleted, and rows of hidden ones."""
        found = deleted_images.find(
            self.app.source, [each.image for each in reader.list()]
        )
        reason = f'in Glance, but not visible to {found.whose}'
        kept = [
            _row(each, reason, '')
            for each in chosen
            if each.image.id in found.hidden
        ]
        if kept:
            self.fail()
        return [
            each for each in chosen if each.image.id in found.deleted
        ], kept


def _too_large(count: int, total: int) -> exceptions.PurgeTooLarge | None:
    """Return the error for a purge of most of the cache."""
    if count <= _A_COUPLE or 2 * count <= total:
        return None
    return exceptions.PurgeTooLarge(count=count, total=total)


def _row(
    found: 'models.BaseImage', reason: str, otherwise: str
) -> Sequence[Any]:
    """Return a row; the reason is why the image is kept, or ''."""
    return (
        found.image.id,
        found.image.name,
        formatting.Size(found.capacity),
        formatting.kept(reason, found.image) if reason else otherwise,
    )
