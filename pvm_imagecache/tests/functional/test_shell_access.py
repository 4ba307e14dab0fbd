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

"""Who may use which command: a real Keystone, and the operating system."""

import atexit
import functools
import grp
import json
import os
import pathlib
import pwd
import shutil
import stat
import sys
import sysconfig
import tempfile

from oslo_utils import units

from pvm_imagecache.cmd import main as command
from pvm_imagecache.system import identity
from pvm_imagecache.tests.functional import base
from pvm_imagecache.tests.servers import keystone as keystone_server

_USERS = {'rita': ('reader',), 'ann': ('admin',), 'max': ('service',)}
_SECRET = 'keep-me-secret'
_TEMPORARY = tempfile.gettempdir()


@functools.cache
def keystone() -> keystone_server.KeystoneServer:
    """The Keystone of this process, started when first asked for."""
    directory = tempfile.mkdtemp(prefix='keystone-', dir=_TEMPORARY)
    server = keystone_server.KeystoneServer(
        os.path.join(directory, 'keystone')
    )
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)
    server.start()
    project = server.add_project('ops')
    for name, roles in _USERS.items():
        server.add_user(name, _SECRET, project, *roles)
    return server


class KeystoneTestCase(base.FunctionalTestCase):
    """auth_strategy = keystone."""

    def setUp(self) -> None:
        super().setUp()
        self.keystone = keystone()
        self.conf_file = self.conf()
        self.image_id = self.store_raw(units.Mi)
        self.make_manager().prefetch(self.image(self.image_id))

    def conf(self, options: str = '') -> pathlib.Path:
        return self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\nvolume_group_name = cachevg\n'
            f'auth_strategy = keystone\n'
            f'policy_file = {self.directory}/policy.yaml\n'
            + (options or f'keystone_auth_urls = {self.keystone.url}'),
            'keystone.conf',
        )

    def run_as(
        self, user: str, *arguments: str, **changes: str
    ) -> tuple[int, str, str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith('OS_')
        }
        if user:
            environment |= self.keystone.environment(user, _SECRET, 'ops')
        done = self.run_shell(*arguments, env=environment | changes)
        self.assertNotIn('Traceback', done.stderr)
        self.assertNotIn(_SECRET, done.stdout + done.stderr)
        return done.returncode, done.stdout, done.stderr

    def test_a_reader_reads_and_purges_nothing(self) -> None:
        for arguments in (
            ('list',),
            ('show', self.image_id),
            ('usage',),
            ('history',),
            ('explain', self.image_id),
            ('plugin', 'list'),
            ('purge', '--all', '--dry-run'),
            ('evict', '--dry-run'),
        ):
            code, _, errors = self.run_as('rita', *arguments)
            self.assertEqual((0, ''), (code, errors), arguments)
        for rule, arguments in (
            ('purge', ('purge', '--all', '--yes')),
            ('prefetch', ('prefetch', self.image_id)),
            ('evict', ('evict',)),
            ('verify', ('verify',)),
            ('pin', ('pin', self.image_id)),
            ('pin', ('unpin', self.image_id)),
            ('adopt', ('adopt', self.image_id, '--yes')),
            ('create_disk', ('disk', 'create', self.image_id, 'vm1')),
            ('delete_disk', ('disk', 'delete', 'vm1')),
        ):
            code, output, errors = self.run_as('rita', *arguments)
            self.assertEqual((1, ''), (code, output), arguments)
            self.assertIn(
                f'Policy does not allow pvm_imagecache:{rule} (role:admin) to '
                'be performed; user "rita (project ops)" has the role reader',
                errors,
            )
        self.assertEqual(1, len(self.make_manager().list()))

    def test_a_purge_of_an_admin_is_in_the_history(self) -> None:
        code, output, _ = self.run_as(
            'ann', 'purge', '--all', '--yes', '--reason', 'CVE', '-f', 'json'
        )
        self.assertEqual(
            (0, 'purged'), (code, json.loads(output)[0]['Result'])
        )
        code, output, _ = self.run_as(
            'ann', 'history', '--action', 'purge', '-f', 'json'
        )
        (row,) = json.loads(output)
        self.assertEqual(
            ('ann (project ops)', self.image_id, 'CVE'),
            (row['User'], row['Image'], row['Reason']),
        )

    def test_a_user_without_our_roles_is_refused(self) -> None:
        code, output, errors = self.run_as('max', 'list')
        self.assertEqual((1, ''), (code, output))
        self.assertIn('pvm_imagecache:list', errors)
        self.assertIn('has the role service', errors)

    def test_missing_or_wrong_credentials_are_refused(self) -> None:
        code, _, errors = self.run_as('', 'list')
        self.assertEqual(1, code)
        self.assertIn(
            'Authentication required: use --os-cloud or OS_* variables.',
            errors,
        )
        for changes in (
            {'OS_PASSWORD': 'wrong'},
            {'OS_USERNAME': 'nobody'},
            {'OS_PROJECT_NAME': 'none'},
            {'OS_PASSWORD': ''},
            {'OS_AUTH_TYPE': 'nonsense'},
        ):
            code, output, errors = self.run_as('ann', 'list', **changes)
            self.assertEqual((1, ''), (code, output))
            self.assertIn('Keystone authentication failed', errors)
            self.assertEqual(1, len(errors.splitlines()), errors)

    def test_help_needs_no_credentials(self) -> None:
        for arguments in (
            ('--help',),
            ('help', 'purge'),
            ('--version',),
            ('complete',),
        ):
            self.assertEqual(0, self.run_as('', *arguments)[0])

    def test_credentials_of_another_cloud_are_refused(self) -> None:
        self.conf_file = self.conf(
            'keystone_auth_urls = https://keystone.example.com/v3'
        )
        code, _, errors = self.run_as('ann', 'list')
        self.assertEqual(1, code)
        self.assertIn(
            f'{self.keystone.url} is not the Keystone of this '
            'host, which is https://keystone.example.com/v3',
            errors,
        )

    def test_a_trusted_keystone_is_required(self) -> None:
        self.conf_file = self.conf('# none')
        code, _, errors = self.run_as('ann', 'list')
        self.assertEqual(1, code)
        self.assertIn('set keystone_auth_urls in [pvm_imagecache]', errors)

    def test_credentials_come_from_clouds_yaml(self) -> None:
        (self.directory / 'clouds.yaml').write_text(f"""
clouds:
  prod:
    auth:
      auth_url: {self.keystone.url}
      username: rita
      project_name: ops
      user_domain_name: Default
      project_domain_name: Default
""")
        (self.directory / 'secure.yaml').write_text(
            f'clouds: {{prod: {{auth: {{password: {_SECRET}}}}}}}'
        )
        variables = {
            'OS_CLIENT_CONFIG_FILE': str(self.directory / 'clouds.yaml'),
            'OS_CLIENT_SECURE_FILE': str(self.directory / 'secure.yaml'),
        }
        code, _, errors = self.run_as(
            '', '--os-cloud', 'prod', 'list', **variables
        )
        self.assertEqual((0, ''), (code, errors))
        code, _, errors = self.run_as(
            '', 'purge', '--all', '--yes', OS_CLOUD='prod', **variables
        )
        self.assertEqual(1, code)
        self.assertIn('pvm_imagecache:purge', errors)
        code, _, errors = self.run_as(
            '', '--os-cloud', 'other', 'list', **variables
        )
        self.assertEqual(1, code)
        self.assertIn('there is no cloud "other"', errors)

    def test_a_policy_file_overrides_the_defaults(self) -> None:
        (self.directory / 'policy.yaml').write_text(
            '"pvm_imagecache:list": "role:service"\n'
            '"pvm_imagecache:purge": "role:admin and user_id:nobody"\n'
        )
        self.assertEqual(0, self.run_as('max', 'list')[0])
        self.assertEqual(1, self.run_as('rita', 'list')[0])
        self.assertEqual(0, self.run_as('rita', 'usage')[0])
        code, _, errors = self.run_as('ann', 'purge', '--all', '--yes')
        self.assertEqual(1, code)
        self.assertIn(
            'pvm_imagecache:purge ((role:admin and user_id:nobody))', errors
        )

    def test_an_invalid_policy_file_allows_nothing(self) -> None:
        for text in (
            '[',
            '"pvm_imagecache:list": "role:"x"',
            '"pvm_imagecache:list": "rule:nothing"',
            'x',
        ):
            (self.directory / 'policy.yaml').write_text(text)
            code, output, errors = self.run_as('ann', 'list')
            self.assertEqual((1, ''), (code, output), text)
            self.assertEqual(1, len(errors.splitlines()), errors)


class LocalTestCase(base.FunctionalTestCase):
    """auth_strategy = local."""

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.store_raw(units.Mi)
        self.make_manager().prefetch(self.image(self.image_id))

    def test_the_owner_of_the_state_is_an_admin(self) -> None:
        for arguments in (('list',), ('purge', '--all', '--yes')):
            self.assertEqual(0, self.run_shell(*arguments).returncode)
        output = self.run_shell('history', '-f', 'json').stdout
        self.assertEqual(
            {identity.user()}, {row['User'] for row in json.loads(output)}
        )

    def test_environment_variables_are_not_trusted(self) -> None:
        done = self.run_shell(
            'pin',
            self.image_id,
            env=os.environ | {'USER': 'mallory', 'SUDO_USER': 'mallory'},
        )
        self.assertEqual(0, done.returncode, done.stderr)
        output = self.run_shell(
            'history', '--action', 'pin', '-f', 'json'
        ).stdout
        self.assertEqual(identity.user(), json.loads(output)[0]['User'])

    def test_a_user_without_permission_is_refused(self) -> None:
        status, errors = self._as_nobody('purge', '--all', '--yes')
        self.assertEqual(1, status)
        self.assertIn(
            'Policy does not allow pvm_imagecache:purge (role:admin) to be '
            f'performed; user "{self._nobody().pw_name}" has no role',
            errors,
        )
        self.assertIn('admin_groups', errors)
        status, errors = self._as_nobody('list')
        self.assertEqual(1, status)
        self.assertIn('pvm_imagecache:list', errors)
        self.assertEqual(1, len(self.make_manager().list()))

    def test_a_group_gives_the_role_reader(self) -> None:
        group = self._group()
        self.conf_file = self._conf(f'reader_groups = {group}')
        self.run_shell('usage')
        # Who is to read may read the files.
        os.chmod(self.directory / 'state', 0o755)
        for path in (self.directory / 'state').glob('catalog*'):
            os.chmod(path, 0o644)
        status, output = self._as_nobody('list', '-f', 'value', '-c', 'ID')
        self.assertEqual((0, self.image_id), (status, output.strip()))
        status, output = self._as_nobody('history')
        self.assertEqual(0, status, output)
        status, output = self._as_nobody('purge', '--all', '--yes')
        self.assertEqual(1, status)
        self.assertIn('has the role reader', output)

    def test_unreadable_files_are_reported(self) -> None:
        self.conf_file = self._conf(f'reader_groups = {self._group()}')
        self.run_shell('usage')
        seen = self.last_request()
        for words in (('list',), ('history',), ('show', self.image_id)):
            status, output = self._as_nobody(*words)
            self.assertEqual(1, status)
            self.assertIn(
                'catalog.sqlite cannot be used: Permission denied', output
            )
            self.assertEqual(1, len(output.splitlines()), output)
        self.assertEqual([], self.kinds_since(seen))
        status, output = self._as_nobody('list', mode=0o600)
        self.assertEqual(1, status)
        self.assertIn(
            f'{self.conf_file} cannot be read: Permission denied.', output
        )

    def test_a_group_gives_the_role_admin(self) -> None:
        self.conf_file = self._conf(f'admin_groups = {self._group()}')
        status, output = self._as_nobody('disk', 'delete', 'i_1')
        self.assertNotIn('not allow', output)
        self.assertEqual(1, status)

    def _conf(self, options: str) -> pathlib.Path:
        return self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            f'protocol = http\nvolume_group_name = cachevg\n{options}\n',
            'local.conf',
        )

    @staticmethod
    def _nobody() -> pwd.struct_passwd:
        return pwd.getpwnam('nobody')

    def _group(self) -> str:
        return grp.getgrgid(self._nobody().pw_gid).gr_name

    def _as_nobody(
        self, *arguments: str, mode: int = 0o644
    ) -> tuple[int, str]:
        """Run a command as a user who has no rights at all.

        :param mode: of the configuration.
        """
        if os.getuid():
            self.skipTest('only root can become nobody')
        for path in (
            sys.executable,
            sysconfig.get_path('stdlib'),
            sysconfig.get_path('purelib'),
            command.__file__,
        ):
            if not _is_open_to_all(pathlib.Path(path)):
                self.skipTest(f'nobody else can read {path}')
        os.chmod(self.conf_file, mode)
        for path in (self.directory, *self.directory.parents):
            if not path.stat().st_mode & stat.S_IXOTH:
                os.chmod(path, 0o755)
        nobody = self._nobody()
        done = self.run_shell(
            *arguments,
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd='/',
        )
        return done.returncode, done.stdout + done.stderr


def _is_open_to_all(path: pathlib.Path) -> bool:
    """Whether everybody may read something, wherever a link leads to."""
    return all(
        each.stat().st_mode & stat.S_IROTH
        for place in (path, path.resolve())
        for each in (place, *place.parents)
    )
