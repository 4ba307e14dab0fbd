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

"""The user of the process, and its roles."""

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
        for name in ('SUDO_UID', 'PKEXEC_UID', 'DOAS_USER'):
            self.useFixture(base.environment(name, None))

    def run_as(self, uid, login=None, sudo=None):
        self.patch(os, 'getuid', lambda: uid)
        if login is not None:
            self.useFixture(base.TextFile(self.path('loginuid'), str(login)))
        if sudo is not None:
            self.useFixture(base.environment('SUDO_UID', str(sudo)))


class UserTest(IdentityTestCase):
    def test_a_user_has_its_own_name(self):
        self.run_as(1001)
        self.assertEqual('ann', identity.user())

    def test_a_login_of_the_same_user_is_not_shown(self):
        self.run_as(1001, login=1001)
        self.assertEqual('ann', identity.user())

    def test_a_request_of_nova_names_its_user(self):
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

    def test_a_request_of_nova_names_its_project(self):
        self.assertIsNone(identity.project_of(None))
        for found, project in (('ops', 'ops'), (None, None), (7, None)):
            self.assertEqual(
                project,
                identity.project_of(types.SimpleNamespace(project_id=found)),
            )

    def test_the_login_precedes_sudo(self):
        self.run_as(0, login=1001, sudo=1002)
        self.assertEqual('ann as root', identity.user())

    def test_sudo_counts_if_there_is_no_login(self):
        for login in (None, (1 << 32) - 1):
            self.run_as(0, login=login, sudo=1002)
            self.assertEqual('bob as root', identity.user())

    def test_pkexec_and_doas_count_like_sudo(self):
        self.run_as(0)
        self.useFixture(base.environment('PKEXEC_UID', '1002'))
        self.assertEqual('bob as root', identity.user())
        self.useFixture(base.environment('PKEXEC_UID', None))
        self.useFixture(base.environment('DOAS_USER', 'nobody'))
        uid = pwd.getpwnam('nobody').pw_uid
        self.assertEqual(f'uid {uid} as root', identity.user())

    def test_a_change_to_another_user_is_shown(self):
        self.run_as(1003, login=1001)
        self.assertEqual('ann as nova', identity.user())

    def test_sudo_uid_counts_for_root_only(self):
        self.run_as(1001, sudo=1002)
        self.assertEqual('ann', identity.user())

    def test_other_variables_are_not_trusted(self):
        for name in ('USER', 'LOGNAME', 'SUDO_USER'):
            self.useFixture(base.environment(name, 'mallory'))
        self.run_as(1001)
        self.assertEqual('ann', identity.user())

    def test_invalid_values_are_ignored(self):
        for sudo in ('', 'x', '-1', '4294967295', '²', '9' * 30):
            self.run_as(0, login='nonsense', sudo=sudo)
            self.assertEqual('root', identity.user())

    def test_a_user_without_a_name_has_its_uid(self):
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

    def test_root_is_an_administrator(self):
        self.assertEqual({'admin', 'reader'}, self._roles(0))

    def test_the_owner_of_the_state_is_an_administrator(self):
        self.assertEqual({'admin', 'reader'}, self._roles(1003))

    def test_groups_give_their_roles(self):
        self.assertEqual({'admin', 'reader'}, self._roles(1001, ['wheel']))
        self.assertEqual({'reader'}, self._roles(1001, ['staff']))
        self.assertEqual(
            {'admin', 'reader'}, self._roles(1001, ['wheel', 'staff'])
        )

    def test_other_users_have_no_role(self):
        self.assertEqual(set(), self._roles(1001))
        self.assertEqual(
            set(),
            self._roles(1001, ['wheel'], admins=['no such group'], readers=[]),
        )


class NamespaceTest(IdentityTestCase):
    """A user namespace, in which any user can be root."""

    def roles(self, uid, owner, uid_map='0 1001 1'):
        self.useFixture(base.TextFile(self.path('uid_map'), uid_map))
        self.useFixture(base.TextFile(self.path('overflow'), '65534\n'))
        self.patch(identity, '_UID_MAP', self.path('uid_map'))
        self.patch(identity, '_OVERFLOW_UID', self.path('overflow'))
        self.patch(identity, '_owner', lambda path: owner)
        self.patch(os, 'getegid', lambda: 10)
        self.patch(
            grp,
            'getgrnam',
            lambda name: grp.struct_group((name, 'x', 10, [])),
        )
        self.run_as(uid)
        return set(identity.local(['wheel'], ['wheel'], '/state').roles)

    def test_root_and_groups_of_a_namespace_do_not_count(self):
        for uid_map in ('0 1001 1', '0 0 1', '0 100000 65536', '', 'x'):
            self.assertEqual(set(), self.roles(0, 64055, uid_map))

    def test_root_of_the_host_counts(self):
        self.assertEqual(
            {'admin', 'reader'}, self.roles(0, 64055, '0 0 4294967295\n')
        )

    def test_the_owner_of_the_state_counts(self):
        self.assertEqual({'admin', 'reader'}, self.roles(0, 0))

    def test_the_user_of_unknown_owners_does_not_count(self):
        self.assertEqual(set(), self.roles(65534, 65534))


class OwnerTest(base.TestCase):
    """Users and directories as they are on this host."""

    def setUp(self):
        super().setUp()
        self.patch(identity, '_LOGIN_UID', self.path('loginuid'))
        for name in ('SUDO_UID', 'PKEXEC_UID', 'DOAS_USER'):
            self.useFixture(base.environment(name, None))
        if os.geteuid() == 0:
            # root has every role anyway.
            os.chown(self.directory, 12345, -1)
        self.owner = os.stat(self.directory).st_uid

    def _roles(self, uid, *names):
        self.patch(os, 'getuid', lambda: uid)
        return set(identity.local((), (), self.path(*names)).roles)

    def test_the_owner_of_the_directory_is_an_administrator(self):
        self.assertEqual({'admin', 'reader'}, self._roles(self.owner))
        self.assertEqual(set(), self._roles(self.owner + 1))

    def test_a_missing_directory_has_the_owner_of_its_parent(self):
        missing = ('a', 'b', 'c')
        self.assertEqual(
            {'admin', 'reader'}, self._roles(self.owner, *missing)
        )
        self.assertEqual(set(), self._roles(self.owner + 1, *missing))

    def test_users_have_the_name_of_their_entry(self):
        self.assertEqual(pwd.getpwuid(os.getuid()).pw_name, identity.user())

    def test_users_without_an_entry_have_their_uid(self):
        self.patch(os, 'getuid', lambda: 3999999999)
        self.assertEqual('uid 3999999999', identity.user())
