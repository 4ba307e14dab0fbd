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

"""The command ``evict``: apply the eviction policies now."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import TYPE_CHECKING

from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import confirmation
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules

if TYPE_CHECKING:
    from pvm_imagecache.cleanup import removal


class EvictImages(base.Lister):
    """Remove the images that the eviction policies select.

    Each cleanup run of nova-compute does the same.
    """

    rule = rules.EVICT
    dry_run_rule = rules.EXPLAIN
    columns = ('ID', 'Name', 'Disk Size', 'Policy', 'Code', 'Reason', 'Result')
    machine_oriented = ('Code',)
    empty_message = 'Nothing to evict.'
    examples = (
        ('evict --dry-run', 'what would be evicted, and why'),
        ('evict', 'evict now'),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        confirmation.add_dry_run(
            parser, 'show what would be evicted and why, change nothing'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Evict the images, or only list them.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
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


def _result(
    result: 'removal.RemovalResult | None',
) -> str:
    if result is None:
        return 'would be evicted'
    if result.removed:
        return 'evicted'
    return formatting.kept(result.reason, result.base_image.image)
