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
"""Whose credentials Glance gets."""

import types

from pvm_imagecache.glance import credentials
from pvm_imagecache.tests.unit import base

_NAMES = types.SimpleNamespace


class DescribedTest(base.TestCase):
    def test_a_request_context_names_user_and_project(self):
        for context, text in (
            (_NAMES(user_name='ann', project_name='demo'), 'ann/demo'),
            (_NAMES(user_id='u', project_id='p'), 'u/p'),
            (_NAMES(user_name=None, user_id='u'), 'u'),
            (_NAMES(), 'the credentials in use'),
        ):
            self.assertEqual(text, credentials.described(_NAMES(), context))

    def test_a_login_names_user_and_project(self):
        access = _NAMES(username='nova', project_name='service')
        plugin = _NAMES(auth_ref=access)
        for http_client in (
            _NAMES(auth=plugin),
            _NAMES(auth=None, session=_NAMES(auth=plugin)),
        ):
            self.assertEqual(
                'nova/service',
                credentials.described(_NAMES(http_client=http_client), None),
            )

    def test_a_token_does_not_say_whose_it_is(self):
        for client in (
            _NAMES(),
            _NAMES(http_client=_NAMES(auth=_NAMES(token='secret'))),
            _NAMES(http_client=_NAMES(auth=_NAMES(auth_ref=None))),
        ):
            self.assertEqual(
                'the credentials in use', credentials.described(client, None)
            )
