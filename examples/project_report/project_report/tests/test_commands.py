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

"""The conformance suite of pvm_imagecache, and tests of the commands."""

import unittest

from project_report import commands
from pvm_imagecache import fixtures
from pvm_imagecache.policies import rules


class ProjectReportTest(fixtures.CommandConformance, unittest.TestCase):
    command = 'project report'
    # It needs a volume group: see the tests with the simulator.
    runs = False


class ProjectCleanTest(fixtures.CommandConformance, unittest.TestCase):
    command = 'project clean'
    runs = False

    def test_readers_may_see_what_would_be_removed(self):
        self.assertIs(rules.Persona.READER, commands.PREVIEW.persona)
        for arguments, rule in (
            (('project', 'clean'), 'project_report:clean'),
            (('purge', '--all', '--yes'), 'pvm_imagecache:purge'),
        ):
            done = self.run_command(*arguments, roles=('reader',))
            self.assertEqual(1, done.code)
            self.assertIn(rule, done.errors)
        done = self.run_command(
            'project', 'clean', '--dry-run', roles=('reader',)
        )
        # It is allowed, and fails for want of a volume group.
        self.assertNotIn('Policy does not allow', done.errors)
