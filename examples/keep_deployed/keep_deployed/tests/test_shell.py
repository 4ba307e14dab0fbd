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

"""Tests of the policy with the pvm-imagecache command."""

import json
import subprocess
import sys
import tempfile
import unittest


class ShellTest(unittest.TestCase):
    def test_plugin_list_shows_the_policy(self):
        with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
            file.write('[pvm_imagecache]\neviction_policies = keep-deployed\n')
            file.flush()
            listed = subprocess.run(
                [
                    sys.executable,
                    '-m',
                    'pvm_imagecache.cmd.main',
                    '--config-file',
                    file.name,
                    'plugin',
                    'list',
                    '-f',
                    'json',
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        (found,) = [
            each
            for each in json.loads(listed)
            if each['Name'] == 'keep-deployed'
        ]
        self.assertTrue(found['Enabled'])
        self.assertIn('pvm-imagecache-keep-deployed 1.0.0', json.dumps(found))
