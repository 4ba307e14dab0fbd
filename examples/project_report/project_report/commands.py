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

"""Commands that show the cached images by project, and remove unused ones."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Final

from pvm_imagecache.cmd import base
from pvm_imagecache.policies import rules

REPORT: Final = rules.define(
    'project_report:show',
    'Show how much of the cache the images of each project take.',
    'project report',
    persona=rules.Persona.READER,
)
CLEAN: Final = rules.define(
    'project_report:clean',
    'Remove cached images that were never deployed from the cache.',
    'project clean',
)
PREVIEW: Final = rules.define(
    'project_report:preview',
    'Show which images would be removed.',
    'project clean --dry-run',
    persona=rules.Persona.READER,
)


class ProjectReport(base.Lister):
    """Show how much of the cache the images of each project take."""

    api_version = 1
    rule = REPORT
    columns = ('Project', 'Images', 'Size', 'Hits')
    examples = (('project report -f json', 'for a monitoring system'),)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Add up the images of each project."""
        reader = self.app.reader
        known = reader.metadata()
        totals: dict[str, list[int]] = {}
        for each in reader.list():
            found = known.get(each.image.id)
            project = found.project_id if found else None
            total = totals.setdefault(project or '', [0, 0, 0])
            total[0] += 1
            total[1] += each.capacity or 0
            total[2] += each.hits
        return self.columns, [
            (project, *total) for project, total in sorted(totals.items())
        ]


class ProjectClean(base.Command):
    """Remove cached images that were never deployed from the cache."""

    api_version = 1
    rule = CLEAN
    dry_run_rule = PREVIEW
    examples = (('project clean --dry-run', 'what would be removed'),)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='show what would be removed, change nothing',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Remove the images."""
        manager = self.app.manager
        unused = [each for each in manager.list() if not each.hits]
        for each in unused:
            self.app.stdout.write(f'{each.image.label}\n')
        if unused and not parsed_args.dry_run:
            for result in manager.purge(unused, spare_in_use=True):
                if not result.removed:
                    # The command ends with exit code 1.
                    self.fail()
