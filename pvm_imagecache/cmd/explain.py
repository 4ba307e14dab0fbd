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

"""The command ``explain``: why an image is kept, or will be evicted."""

import argparse
from collections.abc import Sequence
import time
from typing import Any
from typing import TYPE_CHECKING

from pvm_imagecache import text
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules

if TYPE_CHECKING:
    from pvm_imagecache import results


class ExplainImage(base.ShowOne):
    """Explain why an image is kept, or will be evicted.

    The eviction is that of the next cleanup run of nova-compute.
    """

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
        'last_seen_in_use',
        'last_accessed',
    )
    examples = (('explain debian-13', 'why an image is kept'),)

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
        """Explain the state of the image.

        :param parsed_args: arguments of the command.
        :returns: names and values of the fields.
        :raises PVMImageCacheError: if it fails.
        """
        manager = self.app.manager
        found = manager.explain(
            manager.find(parsed_args.image, by_name=parsed_args.by_name)
        )
        choice, pin = found.choice, found.pin
        image = found.base_image.image
        code, verdict = _verdict(
            found, self.app.conf.pvm_imagecache.minimum_age
        )
        return self.columns, (
            image.id,
            image.name,
            verdict,
            choice.policy if choice else _protecting(code, found),
            code,
            pin.who if pin else None,
            pin.note if pin else None,
            formatting.Until(pin.seconds_left if pin else None),
            formatting.Time(found.in_use_at),
            formatting.Time(found.base_image.last_used_at),
        )


def _verdict(
    found: 'results.Explanation', minimum_age: float
) -> tuple[str, str]:
    """Return what happens to an image, as a code and as text."""
    if found.base_image.reason:
        return 'quarantined', f'quarantined: {found.base_image.reason}'
    if not found.automatic:
        return 'not-automatic', (
            'kept: automatic eviction is disabled '
            '(eviction_policies, remove_unused_base_images)'
        )
    if found.veto:
        code = found.veto.value.replace(' ', '-')
        return code, f'kept: {_veto(code, found, minimum_age)}'
    if found.choice:
        return found.choice.code, f'will be evicted: {found.choice.reason}'
    if found.protections:
        return 'protected', 'kept: protected by ' + '; '.join(
            f'policy {each.policy}: {each.reason} ({each.code})'
            for each in found.protections
        )
    return 'not-chosen', 'kept: no policy selects it'


def _protecting(code: str, found: 'results.Explanation') -> str | None:
    """Return the policies that protect an image, if that is why it is kept."""
    if code != 'protected':
        return None
    return ', '.join(each.policy for each in found.protections)


def _veto(code: str, found: 'results.Explanation', minimum_age: float) -> str:
    """Return the text of a veto."""
    if code == 'young':
        return f'younger than minimum_age{_time_left(found, minimum_age)}'
    return {
        'pinned': 'pinned (unpin it first)',
        'busy': 'in progress',
        'in-use': 'in use by instances of this host',
    }.get(code, code)


def _time_left(found: 'results.Explanation', minimum_age: float) -> str:
    """Return how long an image is too young; '' if the clock was set."""
    left = minimum_age - (time.time() - (found.base_image.ready_at or 0))
    if not 0 < left <= minimum_age:
        return ''
    return f' ({text.duration(left)} left)'
