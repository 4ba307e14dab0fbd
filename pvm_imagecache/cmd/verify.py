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
from pvm_imagecache import text
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import confirmation
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
    use "purge" and "prefetch". The names of cached and pinned images are
    updated to those in Glance.

    The names of disks are unique on a Virtual I/O Server. A disk in another
    volume group that has the name of a base image, or of an instance disk
    that the cache knows, is shown with its volume group: PowerVM creates no
    disk of that name.

    Disks of another catalog are listed, but not changed: they belong to
    another host, to another state_path, or to a state directory that was
    deleted. With --take-over, all disks of that catalog belong to this one
    from now on. Use it only if the other catalog is no longer used. Its base
    images become untracked disks, which deploys of their images replace. To
    use them instead, adopt them.

    The exit code is 1 if any check failed.
    """

    rule = rules.VERIFY
    empty_message = 'There are no cached images and no untracked disks.'
    columns = ('ID', 'Name', 'Disk', 'Result', 'Glance')
    examples = (
        ('verify', 'all images'),
        ('verify debian-13 --no-glance', 'one image, without Glance'),
        ('verify -f json', 'machine-readable'),
        (
            'verify --take-over 5e1f0c2a',
            'after the state directory was deleted',
        ),
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
            '--no-glance', action='store_true', help='do not query Glance'
        )
        parser.add_argument(
            '--take-over',
            metavar='CATALOG',
            help='treat the disks of another catalog, which must no longer '
            'be used, as those of this one ("usage" shows its ID)',
        )
        confirmation.add_yes(parser)
        return parser

    def rule_for(self, parsed_args: argparse.Namespace) -> rules.Rule:
        """Return the access policy rule for the arguments.

        :param parsed_args: arguments of the command.
        :returns: the rule of the command, or that of adopting disks.
        """
        return rules.ADOPT if parsed_args.take_over else self.rule

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Verify the cache.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        manager = self.app.manager
        if parsed_args.take_over is not None:
            self._take_over(parsed_args)
        before = manager.list()
        wanted = {
            manager.find(each, by_name=parsed_args.by_name).disk_name
            for each in parsed_args.images
        }
        found = manager.reconcile()
        results = dict(_results(found)) | self._elsewhere()
        records = {each.disk_name: each for each in (*before, *manager.list())}
        shown = [
            name
            for name in (*records, *results)
            if name in wanted or not wanted
        ]
        states = {}
        if not parsed_args.no_glance:
            states = self._states_in_glance(
                [records[name].image for name in shown if name in records],
                with_pins=not wanted,
            )
        rows = []
        for name in dict.fromkeys(shown):
            record = records.get(name)
            result = results.get(name) or _state_of(record)
            state = states.get(record.image.id) if record else None
            state_text = state.text if state else None
            if result != _OK or state_text not in (None, glance_state.SAME):
                self.fail()
            rows.append(
                (
                    record.image.id if record else None,
                    _name(record, state),
                    name,
                    result,
                    state_text,
                )
            )
        return self.columns, formatting.with_ids(rows)

    def _elsewhere(self) -> dict[str, str]:
        """Return results of names that another volume group has."""
        try:
            found = self.app.manager.names_elsewhere()
        except exceptions.PVMImageCacheError as error:
            self.app.LOG.warning(
                'Not checked for disks of the same name in other volume '
                'groups: %s',
                error,
            )
            self.fail()
            return {}
        return {
            name: f'name taken by a disk in {where}'
            for name, where in sorted(found.items())
        }

    def _take_over(self, parsed_args: argparse.Namespace) -> None:
        """Take over the disks of another catalog, after confirmation."""
        manager = self.app.manager
        catalog = parsed_args.take_over
        disks = manager.disks_of_other_catalog(catalog)
        if not parsed_args.yes:
            confirmation.ask(
                f'Is catalog {catalog} no longer used by any host?',
                [
                    f'Disk {each.name} ({text.size(each.capacity)})'
                    for each in disks
                ],
                'Nothing was changed.',
            )
        manager.take_over(catalog)
        self.app.LOG.info(
            '%d disk(s) of catalog %s belong to this one now',
            len(disks),
            catalog,
        )

    def _states_in_glance(
        self, images: 'Sequence[image_module.Image]', *, with_pins: bool
    ) -> dict[str, glance_state.State]:
        """Return the states in Glance; none if it cannot be queried.

        The names that images have in Glance now are recorded.
        """
        try:
            states = glance_state.states(self.app.source, images)
            names = {
                image_id: state.name
                for image_id, state in states.items()
                if state.shown
            }
            if with_pins:
                # Pinned images need not be cached.
                pins = self.app.manager.pins()
                names |= self._names_of(set(pins) - set(states))
        except exceptions.PVMImageCacheError as error:
            self.app.LOG.warning('Not checked in Glance: %s', error)
            if not isinstance(error, exceptions.ConfigurationError):
                self.fail()
            return {}
        for image_id, name in names.items():
            if self.app.manager.record_name(image_id, name):
                self.app.LOG.info(
                    'Image %s has a new name in Glance: %s', image_id, name
                )
        return states

    def _names_of(self, image_ids: set[str]) -> dict[str, str | None]:
        """Return the names of images that Glance shows."""
        names: dict[str, str | None] = {}
        for each in sorted(image_ids):
            try:
                names[each] = self.app.source.entry(each).name
            except exceptions.ImageNotFound:
                # It was deleted, or is not visible.
                continue
        return names


def _name(
    record: 'models.BaseImage | None', state: glance_state.State | None
) -> str | None:
    """Return the name of an image, in Glance if it is shown there."""
    if state and state.shown:
        return state.name
    return record.image.name if record else None


def _results(
    found: 'reconciler.Reconciliation',
) -> Iterator[tuple[str, str]]:
    """Yield disk names and results. The last result of a disk counts."""
    for name, catalog in found.of_others:
        yield name, f'of another catalog ({catalog}), not changed'
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
