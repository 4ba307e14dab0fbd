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

"""The commands that remove by policy, and tell beforehand what would go."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import formatting


class EvictImages(base.Lister):
    """Remove the images that the eviction policies choose, now.

    The same happens at each pass of nova-compute.
    """

    _stayed = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--dry-run', action='store_true',
            help='only show what would go, and why')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        done = self.app.manager.evict(dry_run=parsed_args.dry_run)
        results = {each.base_image.image.id: each for each in done.results}
        self._stayed = any(not each.removed for each in done.results)
        return ('ID', 'Name', 'Disk Size', 'Policy', 'Reason', 'Result'), [
            (each.image.image_id, each.image.name,
             formatting.Size(each.image.capacity), each.policy, each.reason,
             _result(results.get(each.image.image_id)))
            for each in done.plan.choices]

    def run(self, parsed_args: argparse.Namespace) -> int:
        return super().run(parsed_args) or int(self._stayed)


class ExplainImage(base.ShowOne):
    """Tell why a cached image stays, or goes at the next pass."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'image', metavar='IMAGE',
            help='the id of an image, a unique start of it, or its name')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        manager = self.app.manager
        found = manager.explain(manager.find(parsed_args.image))
        fields = {
            'id': found.base_image.image.id,
            'name': found.base_image.image.name,
            'verdict': _verdict(found),
            'policy': found.choice.policy if found.choice else None,
            'pinned_by': found.pin.who if found.pin else None,
            'pin_note': found.pin.note if found.pin else None,
            'seen_in_use': formatting.Time(found.in_use_at),
            'last_accessed': formatting.Time(found.base_image.last_used_at),
        }
        return tuple(fields), tuple(fields.values())


def _verdict(found: Any) -> str:
    if found.base_image.reason:
        return f'quarantined: {found.base_image.reason}'
    if not found.automatic:
        return ('stays: no policy removes images '
                '(eviction_policies, remove_unused_base_images)')
    if found.veto:
        return f'stays: it is {found.veto.value}'
    if found.choice:
        return f'goes: {found.choice.reason}'
    return 'stays: no policy chooses it'


def _result(result: Any) -> str:
    if result is None:
        return 'would go'
    return 'evicted' if result.removed else f'stays: {result.reason}'
