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

import os

import fixtures
from lxml import etree
from oslotest import base

from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import sessions


class SessionsTest(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).join('sessions')
        self.sessions = sessions.Sessions(
            self.directory, 'user', 'secret', lambda: 'V1_3_0'
        )

    def log_on(self, **values):
        """Log on; returns the token, or the path of its file."""
        request = etree.Element('LogonRequest', xmlns=schema.WEB_NS)
        for name, value in values.items():
            etree.SubElement(request, name.replace('_', '-')).text = value
        answer = etree.fromstring(
            self.sessions.log_on(etree.tostring(request))
        )
        return answer[-1].text

    def log_on_by_file(self):
        """Log on as a local user; returns the path and the token."""
        path = self.log_on(**{'GenerateX-API-SessionFile': 'true'})
        with open(path, encoding='utf-8') as file:
            return path, file.read().strip()

    def test_a_password_gives_a_token(self):
        token = self.log_on(UserID='user', Password='secret')
        self.sessions.check(token)
        self.assertEqual([], os.listdir(self.directory))

    def test_wrong_credentials_are_refused(self):
        for user, password in (('user', 'wrong'), ('x', 'secret')):
            error = self.assertRaises(
                errors.RestError, self.log_on, UserID=user, Password=password
            )
            self.assertEqual(401, error.status)

    def test_a_logon_without_credentials_is_refused(self):
        error = self.assertRaises(errors.RestError, self.log_on, UserID='user')
        self.assertEqual(400, error.status)

    def test_a_token_file_is_private(self):
        path, token = self.log_on_by_file()
        self.sessions.check(token)
        self.assertEqual(0o600, os.stat(path).st_mode & 0o777)

    def test_an_unknown_token_is_refused(self):
        for token in (None, '', 'x'):
            error = self.assertRaises(
                errors.RestError, self.sessions.check, token
            )
            self.assertEqual(401, error.status)

    def test_a_logoff_removes_the_token_file(self):
        path, token = self.log_on_by_file()
        self.sessions.forget(token)
        self.assertFalse(os.path.exists(path))
        self.assertRaises(errors.RestError, self.sessions.check, token)
        self.sessions.forget(token)

    def test_expiring_all_ends_every_session(self):
        path, token = self.log_on_by_file()
        other = self.log_on(UserID='user', Password='secret')
        self.assertEqual(2, self.sessions.forget_all())
        for each in (token, other):
            self.assertRaises(errors.RestError, self.sessions.check, each)
        self.assertFalse(os.path.exists(path))

    def test_a_start_removes_old_token_files(self):
        path, token = self.log_on_by_file()
        again = sessions.Sessions(
            self.directory, 'user', 'secret', lambda: 'V1_3_0'
        )
        self.assertFalse(os.path.exists(path))
        self.assertRaises(errors.RestError, again.check, token)
