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

"""The command ``verify``: compare the catalog with PowerVM and Glance."""

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import formatting
from pvm_imagecache.cmd import glance_state
from pvm_imagecache.policies import rules

if TYPE_CHECKING:
    from pvm_imagecache import image as image_module
    from pvm_imagecache.catalog import models
    from pvm_imagecache.cleanup import reconciler

_OK: Final = 'ok'


class VerifyCache(base.Lister):
    """Check cached images against PowerVM and Glance, and clean up leftovers.

    Leftovers of crashed processes (incomplete disks and web/File entries) and
    records of images whose disk is missing are removed. Images whose disk may
    have been changed are quarantined: they are no longer served. Operations
    in progress are not affected. If you name images, only the results of
    these are shown.

    An image is ok if its disk has the recorded UDID and size, and is mapped
    to no partition. If credentials for Glance are configured, the command
    also checks that Glance has the image, active and with the same hash. The
    bytes on the disk are not read, because PowerVM has no function for that.
    They were compared with the hash during the download; to check them again,
    use "purge" and "prefetch".

    The exit code is 1 if any check failed.
    """

    rule = rules.VERIFY
    empty_message = 'There are no cached images and no untracked disks.'
    columns = ('ID', 'Name', 'Disk', 'Result', 'Glance')
    examples = (
        ('verify', 'all images'),
        ('verify debian-13 --no-glance', 'one image, without Glance'),
        ('verify -f json', 'machine-readable'),
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
        parser.add_argument(
            '--no-glance', action='store_true', help='do not query Glance'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Verify the cache.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        manager = self.app.manager
        before = manager.list()
        wanted = {manager.find(each).disk_name for each in parsed_args.images}
        found = manager.reconcile()
        results = dict(_results(found))
        records = {each.disk_name: each for each in (*before, *manager.list())}
        shown = [
            name
            for name in (*records, *results)
            if name in wanted or not wanted
        ]
        states = (
            {}
            if parsed_args.no_glance
            else self._states_in_glance(
                [records[name].image for name in shown if name in records]
            )
        )
        rows = []
        for name in dict.fromkeys(shown):
            record = records.get(name)
            result = results.get(name) or _state_of(record)
            state = states.get(record.image.id) if record else None
            if result != _OK or state not in (None, glance_state.SAME):
                self.fail()
            rows.append(
                (
                    record.image.id if record else None,
                    record.image.name if record else None,
                    name,
                    result,
                    state,
                )
            )
        return self.columns, formatting.with_ids(rows)

    def _states_in_glance(
        self, images: 'Sequence[image_module.Image]'
    ) -> dict[str, str]:
        """Return the states in Glance; none if it cannot be queried."""
        try:
            return glance_state.states(self.app.source, images)
        except exceptions.PVMImageCacheError as error:
            self.app.LOG.warning('Not checked in Glance: %s', error)
            if not isinstance(error, exceptions.ConfigurationError):
                self.fail()
            return {}


def _results(
    found: 'reconciler.Reconciliation',
) -> Iterator[tuple[str, str]]:
    """Yield disk names and results. The last result of a disk counts."""
    for name in found.untracked:
        yield name, 'untracked: see "adopt"'
    for name in found.forgotten:
        yield name, 'disk missing, record removed'
    for name in found.removed:
        yield name, 'incomplete, removed'
    for name, reason in found.quarantined:
        yield name, f'quarantined: {reason}'
    for name, reason in found.failed:
        yield name, f'kept: {reason}'


def _state_of(record: 'models.BaseImage | None') -> str:
    """Return the result of an image about which nothing was found."""
    if record is None:
        return _OK
    if record.reason:
        return f'quarantined: {record.reason}'
    if record.ready_at is None:
        return 'fetching'
    return _OK
