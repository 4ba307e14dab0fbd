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

"""The command ``pvm-imagecache``: options, configuration, rights, errors.

The commands themselves are plugins of ``pvm_imagecache.cli``. What talks to
PowerVM, Glance or Keystone, and what reads the configuration, is imported
only when a command needs it.
"""

import argparse
from collections.abc import Sequence
import contextlib
import logging
import os
import re
import sys
import textwrap
from typing import Any
from typing import Final
from typing import TextIO
import warnings

from cliff import app
from cliff import complete as cliff_complete
from cliff import help as cliff_help

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache import version
from pvm_imagecache.cmd import command_manager
from pvm_imagecache.system import identity

DEFAULT_FILES: Final = (
    '/etc/nova/nova.conf',
    '/etc/pvm_imagecache/pvm_imagecache.conf',
)
NAMESPACE: Final = 'pvm_imagecache.cli'
EXIT_USAGE: Final = 2

#: By how often -v is given, from -q on; progress is shown without it.
_LEVELS: Final = (logging.WARNING, logging.WARNING, logging.INFO)
_VERY_VERBOSE: Final = 3
_CHATTY: Final = (
    'pypowervm',
    'oslo_config',
    'keystoneauth',
    'urllib3',
    'glanceclient',
    'stevedore',
    'requests',
    'taskflow',
    'oslo_utils',
    'oslo_policy',
    'cliff',
)

_HELP_WIDTH: Final = 79

_DESCRIPTION: Final = (
    'See and change the image cache of this PowerVM host. It may be used '
    'at any time beside a running nova-compute.'
)
_EPILOG: Final = (
    'IMAGE is the id of an image, the start of an id that only one image '
    'has, or a name. "pvm-imagecache help COMMAND" describes a command and '
    'shows examples.'
)


class Help(cliff_help.HelpCommand):
    """Describe a command, or list all of them."""

    app: Any

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        if not parsed_args.cmd:
            self.app.print_help(self.app.stdout)
            return 0
        try:
            return super().take_action(parsed_args)
        except ValueError:
            return int(self.app.refuse(parsed_args.cmd))


class Complete(cliff_complete.CompleteCommand):
    """Print a script for the completion of bash."""

    app: Any

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        # A command that can't be used keeps none of the others from it.
        self.app.command_manager.forget_broken()
        return super().take_action(parsed_args)


class Shell(app.App):
    """The application: reads the configuration when a command needs it."""

    NAME = 'pvm-imagecache'
    LOG = logging.getLogger(NAME)

    def __init__(self) -> None:
        self._conf: Any = None
        self._source: Any = None
        self._manager: Any = None
        self._records: Any = None
        self._asker: identity.Identity | None = None
        self._keystone: Any = None
        self._log_has_failed = False
        super().__init__(
            description=_DESCRIPTION,
            version=version.version_string(),
            command_manager=command_manager.Commands(NAMESPACE),
            deferred_help=True,
        )
        self.command_manager.add_command('help', Help)
        self.command_manager.add_command('complete', Complete)

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        parser = super().build_option_parser(
            description,
            version,
            {'prog': self.NAME, 'epilog': _EPILOG} | (argparse_kwargs or {}),
        )
        parser.usage = f'{self.NAME} [OPTIONS] COMMAND [ARGUMENTS]'
        parser.add_argument(
            '--config-file',
            metavar='FILE',
            action='append',
            default=[],
            help='a configuration file, nova.conf for example; may be '
            'given repeatedly, and the last one wins (default: those '
            f'of {" and ".join(DEFAULT_FILES)} that there are)',
        )
        parser.add_argument(
            '--config-dir',
            metavar='DIR',
            action='append',
            default=[],
            help='a directory whose .conf files are read after those',
        )
        parser.add_argument(
            '--os-cloud',
            metavar='NAME',
            default=os.environ.get('OS_CLOUD', ''),
            help='a cloud in clouds.yaml, as whose user you use this '
            '(default: $OS_CLOUD, else what OS_AUTH_URL and so on say)',
        )
        return parser

    # -- what commands need

    @property
    def conf(self) -> Any:
        """The configuration that the options name.

        :raises ConfigurationError: if a file can't be read.
        """
        if self._conf is None:
            self._conf = read_configuration(
                self.options.config_file, self.options.config_dir
            )
        return self._conf

    @property
    def manager(self) -> Any:
        """An ImageManager, made at the first use and closed at the end."""
        if self._manager is None:
            from pvm_imagecache import manager

            self._manager = manager.ImageManager.from_conf(
                self.conf, self.source, who=self.asker.who
            )
        return self._manager

    @property
    def records(self) -> Any:
        """What the catalogue knows; PowerVM is asked only if it has to be.

        :raises NotSupported: if the pool keeps images itself.
        """
        if self._records is None:
            from pvm_imagecache.cmd import reading

            self._records = reading.remembered(self.conf)
            if self._records is None:
                self._records = self.manager.records
        return self._records

    @property
    def source(self) -> Any:
        """The images of Glance, as the configured user sees them."""
        if self._source is None:
            from pvm_imagecache.glance import client
            from pvm_imagecache.glance import source as image_source

            self._source = image_source.ImageSource(
                client.factory(
                    self.conf, session_of_user=self._session_of_user
                )
            )
        return self._source

    @property
    def quiet(self) -> bool:
        """Whether only warnings, errors and results are wanted."""
        return not self.options.verbose_level

    # -- who asks

    @property
    def asker(self) -> identity.Identity:
        """Who uses this, with which roles.

        :raises KeystoneFailed: if that is for Keystone to tell.
        """
        if self._asker is None:
            options = self.conf.pvm_imagecache
            if options.auth_strategy == 'keystone':
                self._asker = self._ask_keystone()
            else:
                self._asker = identity.local(
                    options.admin_groups,
                    options.reader_groups,
                    options.state_path,
                )
        return self._asker

    def authorize(self, rule: Any) -> None:
        """Go on only if the policy lets the user.

        :raises NotAuthorized: naming the rule.
        """
        from pvm_imagecache.policies import enforcer

        hint = ''
        if self.conf.pvm_imagecache.auth_strategy == 'local':
            hint = (
                ' Use sudo, or see admin_groups and reader_groups in '
                '[pvm_imagecache].'
            )
        enforcer.check(
            rule, self.asker, self.conf.pvm_imagecache.policy_file, hint
        )

    def prepare_to_run_command(self, cmd: Any) -> None:
        """Commands that were written for cliff alone ask nobody."""
        from pvm_imagecache.cmd import base
        from pvm_imagecache.policies import rules

        if not isinstance(cmd, base.Authorized) and not (
            type(cmd).__module__.startswith('cliff.')
            or isinstance(cmd, Help | Complete)
        ):
            self.authorize(rules.DEFAULT)
        if not self.quiet:
            from pvm_imagecache.cmd import wait_notice

            wait_notice.start()

    def _ask_keystone(self) -> identity.Identity:
        from pvm_imagecache.cmd import keystone
        from pvm_imagecache.glance import client

        trusted = (
            self.conf.pvm_imagecache.keystone_auth_urls
            or client.auth_urls(self.conf)
        )
        if not trusted:
            raise exceptions.ConfigurationError(
                reason='auth_strategy = keystone needs to know whose word '
                'counts: set keystone_auth_urls in [pvm_imagecache], '
                'or auth_url in [glance].'
            )
        session = self._session_of_user()
        if session is None:
            raise exceptions.KeystoneFailed(
                reason='you have not said who you are'
            )
        return keystone.whoami(session, trusted)

    def _session_of_user(self) -> Any:
        """A session with the user's own credentials; None without any."""
        from pvm_imagecache.cmd import keystone

        if self._keystone is None:
            credentials = (
                keystone.from_cloud(self.options.os_cloud)
                if self.options.os_cloud
                else keystone.from_environment(os.environ)
            )
            if credentials is not None:
                self._keystone = keystone.session(credentials)
        return self._keystone

    # -- running

    def run(self, argv: list[str]) -> int:
        """Run a command line; returns the exit status."""
        try:
            return super().run(argv)
        except (exceptions.PVMImageCacheError, OSError) as error:
            # Of commands that could not even be found or begun.
            self.LOG.error(error)
            return 1

    def run_subcommand(self, argv: list[str]) -> int:
        """Run a command; cliff says on stdout that there is no such one."""
        try:
            self.command_manager.find_command(argv)
        except ValueError:
            return self.refuse(argv)
        return int(super().run_subcommand(argv))

    def refuse(self, words: Sequence[str]) -> int:
        """Say that there is no such command; returns the exit status."""
        near = [f'"{each}"' for each in self.get_fuzzy_matches(words[0])]
        meant = f' Did you mean {" or ".join(near)}?' if near else ''
        self.LOG.error(
            f'There is no command "{" ".join(words)}".{meant} '
            f'"{self.NAME} help" lists those that there are.'
        )
        return EXIT_USAGE

    def initialize_app(self, argv: list[str]) -> None:
        if not argv and not self.options.deferred_help:
            self.print_help(self.stderr)
            raise SystemExit(EXIT_USAGE)

    def print_help_if_requested(self) -> None:
        if self.options.deferred_help:
            self.print_help(self.stdout)
            raise SystemExit(0)

    def print_help(self, out: TextIO) -> None:
        """The options of all commands, and the list of them."""
        self.parser.print_help(out)
        out.write('\ncommands:\n')
        for name, entry_point in sorted(self.command_manager):
            try:
                found = entry_point.load()
                text = (found.__doc__ or '').strip().partition('\n')[0]
            except Exception as error:
                text = f'can not be loaded: {error}'
            out.write(
                textwrap.fill(
                    f'  {name:<13}  {text.rstrip(".")}',
                    _HELP_WIDTH,
                    subsequent_indent=' ' * 17,
                )
                + '\n'
            )

    def configure_logging(self) -> None:
        super().configure_logging()
        console = logging.getLogger().handlers[-1]
        console.setFormatter(_Harmless(self.CONSOLE_MESSAGE_FORMAT))
        for handler in logging.getLogger().handlers:
            # It would print a traceback, for each line.
            handler.handleError = (  # type: ignore[method-assign]
                self._log_failed
            )
        verbosity = self.options.verbose_level
        if verbosity < _VERY_VERBOSE:
            console.setLevel(_LEVELS[verbosity])
            # Their errors reach the user as errors of ours.
            for name in _CHATTY:
                logging.getLogger(name).setLevel(logging.CRITICAL)

    def _log_failed(self, record: logging.LogRecord) -> None:
        """The log file, or the terminal, can't be written: say so once."""
        if self._log_has_failed:
            return
        self._log_has_failed = True
        with contextlib.suppress(OSError, ValueError):
            print(
                f'The log can not be written: {sys.exc_info()[1]}.',
                file=sys.stderr,
            )

    def clean_up(
        self, cmd: Any, result: int, err: BaseException | None
    ) -> None:
        if self._manager is not None:
            self._manager.close()
        if not self.quiet:
            from pvm_imagecache.cmd import wait_notice

            wait_notice.stop()
        # OSError: nobody reads what is printed, or a disk is full.
        if isinstance(err, Exception) and not isinstance(
            err, exceptions.PVMImageCacheError | OSError
        ):
            self.LOG.error(
                'This should not have happened (%s). Please run it again '
                'with --debug, and report what that shows.',
                type(err).__name__,
            )


class _Harmless(logging.Formatter):
    """What others have named, and errors tell of, is shown as it is."""

    def format(self, record: logging.LogRecord) -> str:
        return '\n'.join(
            map(
                text.printable,
                super().format(record).expandtabs().split('\n'),
            )
        )


def read_configuration(
    files: Sequence[str], directories: Sequence[str]
) -> Any:
    """Read configuration files into a ConfigOpts with our options.

    :param files: where there are none, those of DEFAULT_FILES that exist.
    :raises ConfigurationError: if one can't be read, or makes no sense.
    """
    # A command that shows its version, or its help, needs none of these.
    from oslo_config import cfg

    from pvm_imagecache.conf import access
    from pvm_imagecache.conf import cache

    chosen = list(files) or [
        each for each in DEFAULT_FILES if os.path.exists(each)
    ]
    arguments = [f'--config-file={each}' for each in chosen]
    arguments += [f'--config-dir={each}' for each in directories]
    conf = cfg.ConfigOpts()
    cache.register(conf)
    access.register(conf)
    for each in chosen:
        try:
            with open(each, encoding='utf-8') as file:
                file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, 'strerror', None) or str(error)
            raise exceptions.ConfigurationError(
                reason=f'The configuration file {each} can not be read: '
                f'{reason}.'
            ) from error
    try:
        conf(
            arguments,
            project='pvm_imagecache',
            default_config_files=[],
            default_config_dirs=[],
        )
        # Values are checked when they are first read: read them all now.
        for option in conf.pvm_imagecache:
            getattr(conf.pvm_imagecache, option)
    except (cfg.Error, ValueError, OSError) as error:
        # Where a value was set, oslo.config tells with the repr of an
        # object of its own.
        text = re.sub(
            r" from LocationInfo\(.*?detail='([^']*)'\)",
            r' in [pvm_imagecache] of \1',
            str(error),
        )
        raise exceptions.ConfigurationError(
            reason=f'The configuration is not right: {" ".join(text.split())}'
        ) from error
    return conf


def main(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit status."""
    if not sys.warnoptions:
        # They are for developers of the libraries that give them.
        warnings.simplefilter('ignore')
    return int(Shell().run(list(arguments)))
