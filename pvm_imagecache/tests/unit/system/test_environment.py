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

"""The environment of a command that runs on behalf of another user."""

import os
import sys

from pvm_imagecache.system import environment
from pvm_imagecache.tests.unit import base


class RestrictTest(base.TestCase):
    def restricted(self, **variables):
        environment._restrict_variables(variables)
        return variables

    def test_only_harmless_variables_and_credentials_are_kept(self):
        kept = {
            'TERM': 'xterm',
            'LANG': 'C.UTF-8',
            'LC_ALL': 'de_DE.UTF-8@euro',
            'SUDO_UID': '1001',
            'OS_CLOUD': 'prod',
            'OS_USERNAME': 'ann',
            'CLIFF_FIT_WIDTH': '1',
        }
        found = self.restricted(
            **kept,
            http_proxy='x',
            HTTPS_PROXY='x',
            REQUESTS_CA_BUNDLE='x',
            CURL_CA_BUNDLE='x',
            SSL_CERT_FILE='x',
            SSL_CERT_DIR='x',
            SSLKEYLOGFILE='x',
            TMPDIR='x',
            PYTHONPATH='x',
            LOCPATH='x',
            LANGUAGE='../../x',
            LC_TIME='../../x',
            OS_PVM_IMAGECACHE__AUTH_STRATEGY='local',
            OS_GLANCE__AUTH_URL='x',
            NEW_VARIABLE='x',
        )
        self.assertEqual(kept, {name: found.get(name) for name in kept})
        self.assertEqual(
            {
                'PATH',
                'HOME',
                'XDG_CACHE_HOME',
                'NETRC',
                'PAGER',
                'LESSSECURE',
            },
            set(found) - set(kept),
        )

    def test_no_cache_can_be_read_or_written(self):
        found = self.restricted(XDG_CACHE_HOME='/x', HOME='/x', NETRC='/x')
        self.assertEqual('/dev/null', found['XDG_CACHE_HOME'])
        self.assertEqual('/dev/null', found['NETRC'])
        self.assertNotEqual('/x', found['HOME'])
        self.assertFalse(
            os.path.exists(
                os.path.join(found['XDG_CACHE_HOME'], 'python-entrypoints')
            )
        )

    def test_no_pager_starts_a_shell(self):
        found = self.restricted(PAGER='sh', LESS='-x', LESSOPEN='|x')
        self.assertEqual('cat', found['PAGER'])
        self.assertNotIn('LESSOPEN', found)

    def test_modules_of_the_caller_are_not_found(self):
        self.patch(
            sys,
            'path',
            ['', 'here', os.getcwd(), '/of/caller', '/usr/lib/python3'],
        )
        environment._restrict_modules('/of/caller:')
        self.assertEqual(['/usr/lib/python3'], sys.path)

    def test_the_directory_of_python_m_is_not_searched(self):
        self.patch(sys, 'path', [os.getcwd(), '/usr/lib/python3'])
        environment._restrict_modules('')
        self.assertEqual(['/usr/lib/python3'], sys.path)

    def test_a_caller_can_work_in_a_directory_of_the_installation(self):
        self.patch(sys, 'path', ['/usr/bin', '/usr/lib', os.getcwd()])
        before = list(sys.path)
        environment._restrict_modules('')
        self.assertEqual(before, sys.path)

    def test_a_caller_can_work_in_a_directory_that_was_deleted(self):
        def deleted():
            raise FileNotFoundError

        self.patch(sys, 'path', ['here', '/of/caller', '/usr/lib/python3'])
        self.patch(os, 'getcwd', deleted)
        environment._restrict_modules('/of/caller:relative:')
        self.assertEqual(['/usr/lib/python3'], sys.path)

    def test_a_process_of_its_own_user_keeps_everything(self):
        for name in ('SUDO_UID', 'PKEXEC_UID', 'DOAS_USER'):
            self.useFixture(base.environment(name, None))
        self.patch(environment.caller_module, 'current', lambda: None)
        before = dict(os.environ), list(sys.path)
        environment.restrict()
        self.assertEqual(before, (dict(os.environ), sys.path))
