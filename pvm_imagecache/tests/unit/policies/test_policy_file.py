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

"""Whether there is a policy file: if in doubt, nothing is allowed."""

import os

from pvm_imagecache import exceptions
from pvm_imagecache.policies import enforcer
from pvm_imagecache.policies import policy_file
from pvm_imagecache.policies import rules
from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit import base


class ExistsTest(base.TestCase):
    def refused(self, path):
        return str(
            self.assertRaises(
                exceptions.PolicyFileRefused, policy_file.exists, path
            )
        )

    def write(self, *names):
        path = self.useFixture(base.TextFile(self.path(*names), '')).path
        os.chmod(path, 0o640)
        return path

    def test_a_missing_file_means_defaults(self):
        self.assertFalse(policy_file.exists(self.path('none')))
        self.assertFalse(policy_file.exists(self.path('a', 'b', 'none')))

    def test_a_file_is_found(self):
        self.assertTrue(policy_file.exists(self.write('policy.yaml')))
        os.symlink('policy.yaml', self.path('link'))
        self.assertTrue(policy_file.exists(self.path('link')))

    def test_a_relative_path_is_refused(self):
        for path in ('policy.yaml', './policy.yaml', ''):
            self.assertIn('not an absolute path', self.refused(path))

    def test_a_dangling_link_is_refused(self):
        os.symlink('nothing', self.path('link'))
        self.assertIn('No such file', self.refused(self.path('link')))
        self.assertIn(
            'No such file', self.refused(self.path('link', 'policy.yaml'))
        )

    def test_what_is_no_file_is_refused(self):
        os.mkdir(self.path('directory'))
        self.refused(self.path('directory'))
        self.refused(os.path.join(self.write('file'), 'policy.yaml'))
        self.refused('/dev/null')
        # Nothing waits until another process writes to it.
        os.mkfifo(self.path('fifo'), 0o640)
        self.assertIn('not a regular file', self.refused(self.path('fifo')))

    def test_a_file_that_others_can_change_is_refused(self):
        path = self.write('policy.yaml')
        os.chmod(path, 0o666)
        self.assertIn('other users can change it', self.refused(path))
        os.chmod(path, 0o640)
        os.chmod(self.directory, 0o777)
        self.assertIn('other users can change it', self.refused(path))

    def test_a_directory_that_cannot_be_listed_is_refused(self):
        def listdir(path):
            raise PermissionError(13, 'Permission denied')

        self.patch(os, 'listdir', listdir)
        self.assertIn('Permission denied', self.refused(self.path('none')))

    def test_a_refused_file_allows_nothing(self):
        self.assertRaises(
            exceptions.PolicyFileRefused,
            enforcer.check,
            rules.LIST,
            identity.Identity('ann', frozenset({'admin'})),
            'policy.yaml',
        )
