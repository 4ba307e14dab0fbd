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

"""What the caller of a command under sudo gains: nothing but their roles.

Each test is an attack. The commands run as root, with the environment that
sudo leaves, a real Keystone and a real Glance.
"""

from collections.abc import Iterator
import contextlib
import json
import os
import pathlib
import pwd
import socket
import stat

from oslo_utils import units

from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests.functional import test_shell_access as access

_ROOT_ONLY = 'only root can take the rights of another user'


class SudoTestCase(base.FunctionalTestCase):
    """A command of root, called by the user nobody with sudo."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest(_ROOT_ONLY)
        self.user = pwd.getpwnam('nobody')
        for path in (self.directory, *self.directory.parents):
            if not path.stat().st_mode & stat.S_IXOTH:
                path.chmod(0o755)
        # The caller's own directory.
        self.home = self.directory / 'home'
        self.home.mkdir()
        os.chown(self.home, self.user.pw_uid, self.user.pw_gid)
        self.secret = self.directory / 'secret'
        self.secret.write_text('of root\n')
        self.secret.chmod(0o600)

    def sudo(
        self, *arguments: str, conf: bool = True, **variables: str
    ) -> tuple[int, str, str]:
        """Run a command as root with what sudo and the caller set."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(('OS_', 'SUDO_'))
        }
        environment |= {
            'SUDO_UID': str(self.user.pw_uid),
            'SUDO_GID': str(self.user.pw_gid),
            'SUDO_USER': self.user.pw_name,
            'HOME': str(self.home),
        }
        command = self.shell_command(*arguments)
        if not conf:
            del command[3:5]
        done = base.subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=base.subprocess.DEVNULL,
            cwd=self.home,
            env=environment | variables,
        )
        if '--debug' not in arguments:
            self.assertNotIn('Traceback', done.stderr)
        return done.returncode, done.stdout, done.stderr

    def give(self, path: pathlib.Path) -> pathlib.Path:
        """Make the caller the owner of a file."""
        os.chown(path, self.user.pw_uid, self.user.pw_gid)
        return path

    @contextlib.contextmanager
    def listener(self) -> Iterator[str]:
        """A server of the caller, to which nothing must connect."""
        with socket.create_server(('127.0.0.1', 0)) as server:
            server.settimeout(0.1)
            yield f'http://127.0.0.1:{server.getsockname()[1]}'
            self.assertRaises(TimeoutError, server.accept)


class KeystoneTestCase(SudoTestCase):
    """auth_strategy = keystone."""

    def setUp(self) -> None:
        super().setUp()
        self.keystone = access.keystone()
        self.conf_file = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\nvolume_group_name = cachevg\n'
            'auth_strategy = keystone\n'
            f'policy_file = {self.directory}/policy.yaml\n'
            f'keystone_auth_urls = {self.keystone.url}',
        )
        self.image_id = self.store_raw(units.Mi)
        self.make_manager().prefetch(self.image(self.image_id))

    def as_user(
        self, user: str, *arguments: str, **variables: str
    ) -> tuple[int, str, str]:
        return self.sudo(
            *arguments,
            **self.keystone.environment(user, access._SECRET, 'ops')
            | variables,
        )

    def assert_no_purge(self, *options: str, **variables: str) -> str:
        """Try to purge as a reader; returns the message."""
        code, _, errors = self.as_user(
            'rita', *options, 'purge', '--all', '--yes', **variables
        )
        self.assertEqual(1, code, errors)
        self.assertEqual(1, len(self.make_manager().list()))
        return errors

    def test_variables_override_no_options(self) -> None:
        for name, value in (
            ('AUTH_STRATEGY', 'local'),
            ('POLICY_FILE', str(self.home / 'policy.yaml')),
            ('KEYSTONE_AUTH_URLS', 'http://127.0.0.1:9/v3'),
            ('PORT', '9'),
        ):
            self.assertIn(
                'Policy does not allow pvm_imagecache:purge',
                self.assert_no_purge(**{f'OS_PVM_IMAGECACHE__{name}': value}),
            )

    def test_a_file_that_the_caller_can_change_is_refused(self) -> None:
        mine = self.home / 'mine.conf'
        mine.write_text(
            self.conf_file.read_text().replace('= keystone', '= local')
        )
        self.give(mine)
        link = self.home / 'link.conf'
        link.symlink_to(self.conf_file)
        for path in (mine, link):
            errors = self.assert_no_purge('--config-file', str(path))
            self.assertIn('runs on behalf of nobody', errors)
        self.assertIn(
            'runs on behalf of nobody',
            self.assert_no_purge('--config-dir', str(self.home)),
        )

    def test_a_file_without_options_of_ours_means_no_defaults(self) -> None:
        other = self.directory / 'other.conf'
        for content in ('', '[DEFAULT]\nx = y\n', '[pvm_imagecache]\n#a=b\n'):
            other.write_text(content)
            self.conf_file = other
            code, _, errors = self.as_user('rita', 'purge', '--all', '--yes')
            self.assertEqual(1, code)
            self.assertIn('sets no option in [pvm_imagecache]', errors)

    def test_passwords_are_sent_nowhere_else(self) -> None:
        with self.listener() as url:
            code, _, errors = self.as_user(
                'ann',
                'prefetch',
                self.image_id,
                OS_GLANCE__AUTH_URL=url,
                OS_GLANCE__ENDPOINT=url,
                OS_GLANCE__API_SERVERS=url,
                http_proxy=url,
                HTTP_PROXY=url,
                ALL_PROXY=url,
            )
        self.assertEqual(0, code, errors)

    def test_variables_name_no_file_that_root_writes(self) -> None:
        log = self.home / 'keys'
        code, _, errors = self.as_user(
            'rita',
            'list',
            SSLKEYLOGFILE=str(log),
            XDG_CACHE_HOME=str(self.home / 'cache'),
            REQUESTS_CA_BUNDLE=str(self.secret),
            CURL_CA_BUNDLE=str(self.secret),
            NETRC=str(self.secret),
        )
        self.assertEqual((0, ''), (code, errors))
        self.assertEqual([], os.listdir(self.home))

    def test_other_plugins_are_refused(self) -> None:
        for name in (
            'v3websso',
            'v3oidcauthcode',
            'v3oidcpassword',
            'v3kerberos',
            'v3totp',
            'v3multifactor',
            'http_basic',
            'none',
            'admin_token',
        ):
            code, _, errors = self.as_user('rita', 'list', OS_AUTH_TYPE=name)
            self.assertEqual(1, code)
            self.assertIn(
                f'The authentication plugin "{name}" of the OS_* variables '
                'is refused',
                errors,
            )
        for name in ('password', 'v3password'):
            code, _, errors = self.as_user('rita', 'list', OS_AUTH_TYPE=name)
            self.assertEqual((0, ''), (code, errors))

    def _clouds(self, path: pathlib.Path, user: str) -> None:
        path.write_text(f"""
clouds:
  prod:
    auth:
      auth_url: {self.keystone.url}
      username: {user}
      password: {access._SECRET}
      project_name: ops
      user_domain_name: Default
      project_domain_name: Default
""")

    def test_clouds_of_another_user_are_not_read(self) -> None:
        secret = self.directory / 'clouds-of-ann.yaml'
        self._clouds(secret, 'ann')
        secret.chmod(0o600)
        link = self.home / 'clouds.yaml'
        link.symlink_to(secret)
        purge = ('--os-cloud', 'prod', 'purge', '--all', '--yes')
        for path in (secret, link):
            code, _, errors = self.sudo(
                *purge, OS_CLIENT_CONFIG_FILE=str(path)
            )
            self.assertEqual(1, code)
            self.assertIn(f'{path} cannot be read: Permission denied', errors)
        # Neither the current directory nor a relative path.
        code, _, errors = self.sudo(*purge)
        self.assertEqual(1, code)
        self.assertNotIn('this directory', errors)
        self.assertIn('/etc/openstack', errors)
        code, _, errors = self.sudo(
            *purge, OS_CLIENT_CONFIG_FILE='clouds.yaml'
        )
        self.assertEqual(1, code)
        self.assertIn('must be an absolute path', errors)
        self.assertEqual(1, len(self.make_manager().list()))

    def test_clouds_of_the_caller_are_read(self) -> None:
        mine = self.home / 'mine.yaml'
        self._clouds(mine, 'ann')
        self.give(mine).chmod(0o600)
        cloud = {'OS_CLIENT_CONFIG_FILE': str(mine)}
        code, _, errors = self.sudo(
            '--os-cloud', 'prod', 'pin', self.image_id, **cloud
        )
        self.assertEqual(0, code, errors)
        code, output, _ = self.as_user(
            'rita', 'history', '--action', 'pin', '-f', 'json'
        )
        self.assertEqual(
            ['ann (project ops) by nobody as root'],
            [row['User'] for row in json.loads(output)],
        )

    def test_certificates_are_read_with_the_rights_of_the_caller(
        self,
    ) -> None:
        for variables in (
            {'OS_CACERT': str(self.secret)},
            {'OS_CERT': str(self.secret)},
            {'OS_CERT': '/etc/hosts', 'OS_KEY': str(self.secret)},
        ):
            code, _, errors = self.as_user('rita', 'list', **variables)
            self.assertEqual(1, code)
            self.assertIn(
                f'{self.secret} of the OS_* variables cannot be read with '
                'the permissions of nobody: Permission denied',
                errors,
            )

    def test_a_reader_writes_no_metrics(self) -> None:
        path = self.home / 'x.prom'
        code, _, errors = self.as_user(
            'rita', 'usage', '--textfile', str(path)
        )
        self.assertEqual(1, code)
        self.assertIn('pvm_imagecache:write_metrics', errors)
        for target in (self.directory / 'y.prom', self.secret):
            code, _, errors = self.as_user(
                'ann', 'usage', '--textfile', str(target)
            )
            self.assertEqual(1, code)
            self.assertIn('Permission denied', errors)
        code, _, errors = self.as_user('ann', 'usage', '--textfile', str(path))
        self.assertEqual((0, ''), (code, errors))
        self.assertEqual(self.user.pw_uid, path.stat().st_uid)

    def test_an_admin_of_another_domain_has_no_roles(self) -> None:
        domain = self.keystone.add_domain(f'tenant-{self.image_id[:8]}')
        project = self.keystone.add_project('shop', domain)
        self.keystone.add_user(
            'boss', access._SECRET, project, 'admin', domain=domain
        )
        boss = self.keystone.environment('boss', access._SECRET, 'shop') | {
            'OS_USER_DOMAIN_ID': domain,
            'OS_PROJECT_DOMAIN_ID': domain,
            'OS_USER_DOMAIN_NAME': '',
            'OS_PROJECT_DOMAIN_NAME': '',
        }
        for words in (('list',), ('purge', '--all', '--yes')):
            code, _, errors = self.sudo(*words, **boss)
            self.assertEqual(1, code)
            self.assertIn('keystone_domains', errors)
        # A rule of the operator can count them.
        (self.directory / 'policy.yaml').write_text(
            '"pvm_imagecache:list": '
            f'"role:admin and project_domain_id:{domain} '
            'and user_name:boss and project_name:%(project_name)s"\n'
        )
        code, _, errors = self.sudo('list', **boss)
        self.assertEqual((0, ''), (code, errors))
        self.assertEqual(1, self.sudo('purge', '--all', '--yes', **boss)[0])
        self.assertEqual(1, self.as_user('ann', 'list')[0])


class LogFileTestCase(SudoTestCase):
    """--log-file, which is opened before anybody is authenticated."""

    def test_only_files_of_the_caller_are_opened(self) -> None:
        link = self.home / 'link'
        link.symlink_to(self.secret)
        hard = self.home / 'hard'
        os.link(self.secret, hard)
        fifo = self.home / 'fifo'
        os.mkfifo(fifo, 0o666)
        for path in (
            self.secret,
            link,
            hard,
            fifo,
            self.directory / 'new',
            pathlib.Path('/dev/null'),
        ):
            code, _, errors = self.sudo('--log-file', str(path), 'list')
            self.assertEqual(1, code, path)
            self.assertIn(f'The log file {path} cannot be used', errors)
        self.assertEqual('of root\n', self.secret.read_text())
        self.assertFalse((self.directory / 'new').exists())

    def test_a_new_file_belongs_to_the_caller(self) -> None:
        path = self.home / 'log'
        code, _, errors = self.sudo('--log-file', str(path), 'list')
        self.assertEqual(0, code, errors)
        self.assertEqual(self.user.pw_uid, path.stat().st_uid)

    def test_no_text_begins_a_line_of_its_own(self) -> None:
        path = self.home / 'log'
        forged = '[2026-01-01 00:00:00,000] ERROR forged'
        for line_break in ('\n', '\r', '\x85', '\u2028', '\x1b[2J'):
            self.sudo(
                '--debug',
                '--log-file',
                str(path),
                'show',
                f'x{line_break}{forged}',
            )
        lines = path.read_text().splitlines()
        self.assertTrue(any(forged in each for each in lines))
        for each in lines:
            self.assertRegex(each, r'^(\[\d{4}-\d\d-\d\d |    )')
            self.assertFalse(each.startswith(forged), each)
            self.assertTrue(each.isprintable(), each)


class PagerTestCase(SudoTestCase):
    """The help on a terminal, where cliff starts a pager."""

    def test_the_help_starts_no_program_of_the_caller(self) -> None:
        seen = self.home / 'seen'
        pager = self.home / 'pager'
        pager.write_text(f'#!/bin/sh\nid > {seen}\n')
        pager.chmod(0o755)
        (self.home / 'less').symlink_to(pager)
        environment = os.environ | {
            'SUDO_UID': str(self.user.pw_uid),
            'PATH': f'{self.home}:{os.environ["PATH"]}',
            'TERM': 'xterm',
        }
        for name in (None, str(pager)):
            environment.pop('PAGER', None)
            if name:
                environment['PAGER'] = name
            for words in (('help', 'purge'), ('purge', '--help')):
                master, terminal = os.openpty()
                with base.subprocess.Popen(
                    self.shell_command(*words),
                    stdin=terminal,
                    stdout=terminal,
                    stderr=terminal,
                    env=environment,
                    start_new_session=True,
                ) as process:
                    os.close(terminal)
                    output = b''
                    with contextlib.suppress(OSError):
                        while part := os.read(master, 65536):
                            output += part
                os.close(master)
                self.assertEqual(0, process.returncode)
                self.assertIn(b'Remove images', output)
                self.assertFalse(seen.exists())


class LocalTestCase(SudoTestCase):
    """auth_strategy = local: root is an administrator, with sudo too."""

    def test_root_with_sudo_is_an_administrator(self) -> None:
        image_id = self.store_raw(units.Mi)
        code, _, errors = self.sudo('prefetch', image_id, '-q')
        self.assertEqual(0, code, errors)
        code, output, _ = self.sudo('history', '-f', 'json')
        self.assertEqual(
            {'nobody as root'}, {row['User'] for row in json.loads(output)}
        )

    def test_readers_need_no_passwords(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.make_manager().prefetch(self.image(image_id))
        lines = self.conf_file.read_text().partition('[glance]')[0]
        self.conf_file.write_text(
            f'{lines}[glance]\nauth_type = password\nauth_url = http://x\n'
        )
        for words in (
            ('list',),
            ('show', image_id),
            ('history',),
            ('usage',),
            ('explain', image_id),
            ('plugin', 'list'),
            ('evict', '--dry-run'),
            ('purge', '--all', '--dry-run'),
        ):
            code, _, errors = self.sudo(*words)
            self.assertEqual(0, code, f'{words}: {errors}')
