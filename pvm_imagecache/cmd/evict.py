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
from pvm_imagecache.cmd import confirmation
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules


class EvictImages(base.Lister):
    """Remove the images that the eviction policies choose, now.

    The same happens at each pass of nova-compute.
    """

    rule = rules.EVICT
    columns = ('ID', 'Name', 'Disk Size', 'Policy', 'Code', 'Reason', 'Result')
    for_programs = ('Code',)
    nothing = 'No policy chooses an image that may go.'
    examples = (
        ('evict --dry-run', 'what would go, and why'),
        ('evict', 'have it go now'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        confirmation.add_dry_run(parser, 'only show what would go, and why')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        done = self.app.manager.evict(dry_run=parsed_args.dry_run)
        results = {each.base_image.image.id: each for each in done.results}
        if any(not each.removed for each in done.results):
            self.fail()
        return self.columns, formatting.with_ids(
            (
                each.image.image_id,
                each.image.name,
                formatting.Size(each.image.capacity),
                each.policy,
                each.code,
                each.reason,
                _result(results.get(each.image.image_id)),
            )
            for each in done.plan.choices
        )


class ExplainImage(base.ShowOne):
    """Tell why a cached image stays, or goes at the next pass."""

    rule = rules.EXPLAIN
    columns = (
        'id',
        'name',
        'verdict',
        'policy',
        'code',
        'pinned_by',
        'pin_note',
        'pinned_until',
        'seen_in_use',
        'last_accessed',
    )
    examples = (('explain debian-13', 'what will become of an image'),)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('image', metavar='IMAGE', help=base.IMAGE_HELP)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        manager = self.app.manager
        found = manager.explain(manager.find(parsed_args.image))
        choice, pin = found.choice, found.pin
        image = found.base_image.image
        code, verdict = _verdict(found)
        return self.columns, (
            image.id,
            image.name,
            verdict,
            choice.policy if choice else None,
            code,
            pin.who if pin else None,
            pin.note if pin else None,
            formatting.Until(pin.seconds_left if pin else None),
            formatting.Time(found.in_use_at),
            formatting.Time(found.base_image.last_used_at),
        )


def _verdict(found: Any) -> tuple[str, str]:
    """What becomes of an image, as a code and in words."""
    if found.base_image.reason:
        return 'quarantined', f'quarantined: {found.base_image.reason}'
    if not found.automatic:
        return 'not-automatic', (
            'stays: no policy removes images '
            '(eviction_policies, remove_unused_base_images)'
        )
    if found.veto:
        return (
            found.veto.value.replace(' ', '-'),
            f'stays: it is {found.veto.value}',
        )
    if found.choice:
        return found.choice.code, f'goes: {found.choice.reason}'
    return 'not-chosen', 'stays: no policy chooses it'


def _result(result: Any) -> str:
    if result is None:
        return 'would go'
    return 'evicted' if result.removed else f'stays: {result.reason}'
