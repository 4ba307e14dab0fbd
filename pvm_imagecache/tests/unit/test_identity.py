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

"""Who the operating system says we are."""

import grp
import os
import pwd
import types

from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit import base

_USERS = {0: 'root', 1001: 'ann', 1002: 'bob', 1003: 'nova'}


class IdentityTestCase(base.TestCase):
    """A host whose users the test makes up."""

    def setUp(self):
        super().setUp()
        self.patch(
            identity, '_name', lambda uid: _USERS.get(uid, f'uid {uid}')
        )
        self.patch(identity, '_LOGIN_UID', self.path('loginuid'))
        self.useFixture(base.environment('SUDO_UID', None))

    def run_as(self, uid, login=None, sudo=None):
        self.patch(os, 'getuid', lambda: uid)
        if login is not None:
            self.useFixture(base.TextFile(self.path('loginuid'), str(login)))
        if sudo is not None:
            self.useFixture(base.environment('SUDO_UID', str(sudo)))


class UserTest(IdentityTestCase):
    def test_a_user(self):
        self.run_as(1001)
        self.assertEqual('ann', identity.user())

    def test_one_who_logged_in(self):
        self.run_as(1001, login=1001)
        self.assertEqual('ann', identity.user())

    def test_a_request_of_nova(self):
        self.run_as(0)
        self.assertIsNone(identity.of_request(None))
        for name, user_id, who in (
            ('ann', '7a3', 'ann as root'),
            (None, '7a3', '7a3 as root'),
            (None, None, None),
        ):
            self.assertEqual(
                who,
                identity.of_request(
                    types.SimpleNamespace(user_name=name, user_id=user_id)
                ),
            )

    def test_sudo_after_a_login(self):
        self.run_as(0, login=1001, sudo=1002)
        self.assertEqual('ann as root', identity.user())

    def test_sudo_where_the_kernel_knows_no_login(self):
        for login in (None, (1 << 32) - 1):
            self.run_as(0, login=login, sudo=1002)
            self.assertEqual('bob as root', identity.user())

    def test_to_another_user_than_root(self):
        self.run_as(1003, login=1001)
        self.assertEqual('ann as nova', identity.user())

    def test_only_root_is_believed_what_sudo_says(self):
        self.run_as(1001, sudo=1002)
        self.assertEqual('ann', identity.user())

    def test_other_variables_are_not_believed(self):
        for name in ('USER', 'LOGNAME', 'SUDO_USER'):
            self.useFixture(base.environment(name, 'mallory'))
        self.run_as(1001)
        self.assertEqual('ann', identity.user())

    def test_nonsense(self):
        for sudo in ('', 'x', '-1', '4294967295', '²', '9' * 30):
            self.run_as(0, login='nonsense', sudo=sudo)
            self.assertEqual('root', identity.user())

    def test_a_user_without_a_name(self):
        self.run_as(4711)
        self.assertEqual('uid 4711', identity.user())


class LocalTest(IdentityTestCase):
    def _roles(
        self, uid, groups=(), admins=('wheel',), readers=('staff',), path=None
    ):
        known = {'wheel': 10, 'staff': 20}
        self.run_as(uid)
        self.patch(os, 'getgroups', lambda: [known[each] for each in groups])
        self.patch(os, 'getegid', lambda: 999)

        def find(name):
            if name not in known:
                raise KeyError(name)
            return grp.struct_group((name, 'x', known[name], []))

        self.patch(grp, 'getgrnam', find)
        self.patch(identity, '_owner', lambda path: 1003)
        return set(
            identity.local(admins, readers, path or self.path('state')).roles
        )

    def test_root(self):
        self.assertEqual({'admin', 'reader'}, self._roles(0))

    def test_the_owner_of_the_state(self):
        self.assertEqual({'admin', 'reader'}, self._roles(1003))

    def test_groups(self):
        self.assertEqual({'admin', 'reader'}, self._roles(1001, ['wheel']))
        self.assertEqual({'reader'}, self._roles(1001, ['staff']))
        self.assertEqual(
            {'admin', 'reader'}, self._roles(1001, ['wheel', 'staff'])
        )

    def test_nobody_in_particular(self):
        self.assertEqual(set(), self._roles(1001))
        self.assertEqual(
            set(),
            self._roles(1001, ['wheel'], admins=['no such group'], readers=[]),
        )


class OwnerTest(base.TestCase):
    def test_of_what_is_there(self):
        self.assertEqual(os.getuid(), identity._owner(self.directory))

    def test_of_where_it_would_be_made(self):
        self.assertEqual(
            os.getuid(), identity._owner(self.path('a', 'b', 'c'))
        )
        self.assertEqual(0, identity._owner('/no/such/directory'))

    def test_a_name(self):
        self.assertEqual(
            pwd.getpwuid(os.getuid()).pw_name, identity._name(os.getuid())
        )
        self.assertEqual('uid 3999999999', identity._name(3999999999))
