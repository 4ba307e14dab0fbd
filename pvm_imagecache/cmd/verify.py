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

"""The command that holds the catalogue against the pool, and Glance."""

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import formatting
from pvm_imagecache.cmd import glance_state
from pvm_imagecache.policies import rules

_SOUND: Final = 'sound'


class VerifyCache(base.Lister):
    """Hold the catalogue against the disks and Glance, and tidy up.

    What a process that was killed has left behind, incomplete disks and
    web/File entries, is removed; cached images whose disk is gone are
    forgotten; what others could have changed is served no more. What living
    processes are at is left alone. With images, only what is found about
    them is shown.

    Of each image that is cached it is checked that its disk is there under
    the UDID and with the size that it was made with, and that no partition
    has it. Where credentials are configured Glance is asked whether it has
    the image, active and with the same hash. The bytes on the disk are not
    read again: PowerVM gives no way to do that. They were compared with the
    hash when they were fetched; "purge" and "prefetch" do it anew.

    The exit status is 1 if something is not as it should be.
    """

    rule = rules.VERIFY
    nothing = 'No image is cached, and no disk is named as if it were one.'
    columns = ('ID', 'Name', 'Disk', 'Result', 'Glance')
    examples = (
        ('verify', 'everything'),
        ('verify debian-13 --no-glance', 'an image, its disk only'),
        ('verify -f json', 'for a program'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='*', help=base.IMAGE_HELP
        )
        parser.add_argument(
            '--no-glance', action='store_true', help='do not ask Glance'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        manager = self.app.manager
        before = manager.list()
        wanted = {manager.find(each).disk_name for each in parsed_args.images}
        found = manager.reconcile()
        disks = dict(_remarks(found))
        records = {each.disk_name: each for each in (*before, *manager.list())}
        shown = [
            name for name in (*records, *disks) if name in wanted or not wanted
        ]
        states = (
            {}
            if parsed_args.no_glance
            else self._ask_glance(
                [records[name].image for name in shown if name in records]
            )
        )
        rows = []
        for name in dict.fromkeys(shown):
            record = records.get(name)
            remark = disks.get(name) or _state_of(record)
            state = states.get(record.image.id) if record else None
            if remark != _SOUND or state not in (None, glance_state.SAME):
                self.fail()
            rows.append(
                (
                    record.image.id if record else None,
                    record.image.name if record else None,
                    name,
                    remark,
                    state,
                )
            )
        return self.columns, formatting.with_ids(rows)

    def _ask_glance(self, images: Sequence[Any]) -> dict[str, str]:
        """How images are in Glance; nothing where nobody can ask."""
        try:
            return glance_state.states(self.app.source, images)
        except exceptions.PVMImageCacheError as error:
            self.app.LOG.warning('Glance was not asked: %s', error)
            if not isinstance(error, exceptions.ConfigurationError):
                self.fail()
            return {}


def _remarks(found: Any) -> Iterator[tuple[str, str]]:
    """What was found about disks, by name; the last word counts."""
    for name in found.untracked:
        yield name, 'not known to the cache: see "adopt"'
    for name in found.forgotten:
        yield name, 'gone, forgotten'
    for name in found.removed:
        yield name, 'incomplete, removed'
    for name, reason in found.quarantined:
        yield name, f'quarantined: {reason}'
    for name, reason in found.failed:
        yield name, f'stays: {reason}'


def _state_of(record: Any) -> str:
    """What is to be said of an image that nothing was found about."""
    if record.reason:
        return f'quarantined: {record.reason}'
    if record.ready_at is None:
        return 'is being filled'
    return _SOUND
