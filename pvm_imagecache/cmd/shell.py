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

"""The application ``pvm-imagecache``: options, configuration, access, errors.

The commands are plugins of the entry point group ``pvm_imagecache.cli``.
Modules that talk to PowerVM, Glance or Keystone, or read the configuration,
are imported only when a command needs them.
"""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import functools
import logging
import os
import re
import sys
import textwrap
from typing import Any
from typing import Final
from typing import TextIO
from typing import TYPE_CHECKING
import warnings

from cliff import app
from cliff import complete as cliff_complete
from cliff import help as cliff_help

from pvm_imagecache import exceptions
from pvm_imagecache import version
from pvm_imagecache.cmd import command_manager
from pvm_imagecache.cmd import exit_codes
from pvm_imagecache.cmd import log_files
from pvm_imagecache.system import caller as caller_module
from pvm_imagecache.system import identity
from pvm_imagecache.system import terminal

if TYPE_CHECKING:
    from cliff import command as cliff_command
    from keystoneauth1 import session as ksa_session
    from oslo_config import cfg

    from pvm_imagecache import manager as manager_module
    from pvm_imagecache.catalog import reader as catalog_reader
    from pvm_imagecache.cmd import clouds
    from pvm_imagecache.glance import client
    from pvm_imagecache.glance import source as image_source
    from pvm_imagecache.policies import rules
    from pvm_imagecache.system import entry_points

DEFAULT_FILES: Final = (
    '/etc/nova/nova.conf',
    '/etc/pvm_imagecache/pvm_imagecache.conf',
)
NAMESPACE: Final = 'pvm_imagecache.cli'

#: Log levels by verbosity: with -q, by default, and with -v.
_LEVELS: Final = (logging.WARNING, logging.WARNING, logging.INFO)
_VERY_VERBOSE: Final = 3
_CHATTY: Final = (
    'pypowervm',
    'oslo_config',
    'keystoneauth',
    'urllib3',
    'stevedore',
    'requests',
    'taskflow',
    'oslo_utils',
    'oslo_policy',
    'cliff',
)

_HELP_WIDTH: Final = 79
#: Characters of a configuration file. The sample of nova has half a million.
_MAX_CONFIGURATION: Final = 8 * 1024 * 1024

_DESCRIPTION: Final = (
    'Inspect and change the image cache of this PowerVM host. Safe to use '
    'while nova-compute is running.'
)
_EPILOG: Final = (
    'IMAGE is an image ID, a unique prefix of an image ID, or an image name. '
    'Hexadecimal digits and dashes are always an ID, unless you use --name. '
    '"pvm-imagecache help COMMAND" describes a command and shows examples.'
)


class Help(cliff_help.HelpCommand):
    """Describe a command, or list all commands."""

    app: 'Shell'

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Print the help.

        :param parsed_args: arguments of the command.
        :returns: the exit code.
        """
        if not parsed_args.cmd:
            self.app.print_help(self.app.stdout)
            return 0
        try:
            return super().take_action(parsed_args)
        except ValueError:
            return self.app.report_unknown_command(parsed_args.cmd)


class Complete(cliff_complete.CompleteCommand):
    """Print a completion script for bash."""

    app: 'Shell'

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Print the script.

        :param parsed_args: arguments of the command.
        :returns: the exit code.
        """
        # A broken command must not disable the completion of the others.
        self.app.command_manager.drop_broken()
        return super().take_action(parsed_args) or 0

    def get_actions(self, command: list[str]) -> list[argparse.Action]:
        """Return the options of a command. Called by cliff.

        :param command: the words of the command.
        :returns: the options; none if the command cannot say which it has.
        """
        try:
            found: list[argparse.Action] = super().get_actions(command)
        except (Exception, SystemExit) as error:
            self.app.LOG.warning(
                'The options of "%s" are not completed: %s',
                ' '.join(command),
                error,
            )
            return []
        return found


class Shell(app.App):
    """The application. It reads the configuration when a command needs it.

    :param conf: the configuration; None to read it from files.
    :param user: the user with their roles; None to find out who it is.
    """

    NAME = 'pvm-imagecache'
    LOG = logging.getLogger(NAME)

    command_manager: command_manager.Commands

    def __init__(
        self,
        conf: 'cfg.ConfigOpts | None' = None,
        user: identity.Identity | None = None,
    ) -> None:
        self._conf = conf
        self._source: image_source.ImageSource | None = None
        self._manager: manager_module.ImageManager | None = None
        self._reader: catalog_reader.CatalogReader | None = None
        self._user = user
        self._credentials: clouds.Credentials | None = None
        self._session: ksa_session.Session | None = None
        self._log_has_failed = False
        #: The user on whose behalf this process runs, if it is another one.
        self.caller = caller_module.current()
        super().__init__(
            description=_DESCRIPTION,
            version=version.version_string(),
            command_manager=command_manager.Commands(
                NAMESPACE, self.checked_command
            ),
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
        """Return the parser of the global options. Called by cliff.

        :param description: description of the program.
        :param version: version of the program.
        :param argparse_kwargs: other arguments of the parser.
        :returns: the parser.
        """
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
            help='configuration file, for example nova.conf; may be '
            'repeated, the last one takes precedence (default: '
            f'{" and ".join(DEFAULT_FILES)}, if they exist)',
        )
        parser.add_argument(
            '--config-dir',
            metavar='DIR',
            action='append',
            default=[],
            help='directory of .conf files, read after these files',
        )
        parser.add_argument(
            '--os-cloud',
            metavar='NAME',
            default=os.environ.get('OS_CLOUD', ''),
            help='cloud of clouds.yaml to authenticate with (default: '
            '$OS_CLOUD, or else OS_AUTH_URL and other OS_* variables)',
        )
        return parser

    # -- services for commands

    @property
    def conf(self) -> 'cfg.ConfigOpts':
        """The configuration, read at the first use.

        :raises ConfigurationError: if a file cannot be read or is invalid.
        """
        if self._conf is None:
            self._conf = read_configuration(
                self.options.config_file,
                self.options.config_dir,
                self.caller,
            )
        return self._conf

    @property
    def manager(self) -> 'manager_module.ImageManager':
        """The image manager, created at the first use, closed at the end.

        :raises ConfigurationError: if the configuration is invalid.
        :raises PluginError: if the driver or a policy cannot be loaded.
        """
        if self._manager is None:
            from pvm_imagecache import manager

            self._manager = manager.ImageManager.from_conf(
                self.conf, self.source, who=self.user.who
            )
        return self._manager

    @property
    def reader(self) -> 'catalog_reader.CatalogReader':
        """The records of the catalog. PowerVM is asked only if necessary.

        :raises NotSupported: if the pool caches images itself.
        :raises CatalogError: if the catalog cannot be read.
        """
        if self._reader is None:
            from pvm_imagecache.catalog import reader as catalog_reader

            self._reader = (
                catalog_reader.open_reader(self.conf) or self.manager.reader()
            )
        return self._reader

    @property
    def asked_powervm(self) -> bool:
        """Whether the command needed PowerVM to find the pool."""
        return self._manager is not None

    @property
    def source(self) -> 'image_source.ImageSource':
        """The images of Glance that are visible to the configured user."""
        if self._source is None:
            from pvm_imagecache.conf import nova
            from pvm_imagecache.glance import client
            from pvm_imagecache.glance import source as image_source

            nova.register(self.conf)
            self._source = image_source.ImageSource(
                client.factory(self.conf, access_of_user=self._user_access),
                not self.conf.workarounds.disable_deep_image_inspection,
            )
        return self._source

    @property
    def quiet(self) -> bool:
        """Whether only warnings, errors and results are printed."""
        return not self.options.verbose_level

    # -- access

    @property
    def user(self) -> identity.Identity:
        """The user of the command, with their roles.

        :raises KeystoneFailed: if Keystone does not authenticate the user.
        """
        if self._user is None:
            options = self.conf.pvm_imagecache
            if options.auth_strategy == 'keystone':
                self._user = self._authenticate()
            else:
                self._user = identity.local(
                    options.admin_groups,
                    options.reader_groups,
                    options.state_path,
                )
        return self._user

    def authorize(self, rule: 'rules.Rule') -> None:
        """Check that the access policy allows something to the user.

        :param rule: the rule.
        :raises NotAuthorized: if the policy does not allow it.
        :raises KeystoneFailed: if Keystone does not authenticate the user.
        :raises ConfigurationError: if the policy file is invalid.
        :raises TypeError: if a command of another package has something else
            as its rule.
        """
        from pvm_imagecache.policies import enforcer
        from pvm_imagecache.policies import rules

        if found := rules.fault(rule):
            raise TypeError(found)
        hint = ''
        if self.conf.pvm_imagecache.auth_strategy == 'local':
            hint = (
                ' Use sudo, or see admin_groups and reader_groups in '
                '[pvm_imagecache].'
            )
        enforcer.check(
            rule, self.user, self.conf.pvm_imagecache.policy_file, hint
        )

    def prepare_to_run_command(self, cmd: 'cliff_command.Command') -> None:
        """Enforce the access policy for commands that do not do it.

        Called by cliff. Commands of other packages may know only cliff.

        :param cmd: the command.
        :raises NotAuthorized: if the policy does not allow it.
        """
        from pvm_imagecache.cmd import base
        from pvm_imagecache.policies import rules

        if not isinstance(cmd, base.Authorized | Help | Complete):
            self.authorize(rules.DEFAULT)
        plugin = self.command_manager.plugin_of(type(cmd))
        if plugin is not None:
            cmd.run = functools.partial(  # type: ignore[method-assign]
                _run, plugin, cmd.run
            )
        if not self.quiet:
            from pvm_imagecache.cmd import wait_notice

            wait_notice.start()

    def checked_command(
        self, plugin: 'entry_points.Plugin'
    ) -> 'type[cliff_command.Command]':
        """Import and check a command of another package.

        :param plugin: its entry point.
        :returns: the class of the command.
        :raises PluginInvalid: if the command cannot be used.
        """
        from pvm_imagecache.cmd import command_check

        return command_check.load(
            plugin, lambda found: found(self, getattr(self, 'options', None))
        )

    def _authenticate(self) -> identity.Identity:
        from pvm_imagecache.cmd import keystone
        from pvm_imagecache.conf import glance
        from pvm_imagecache.glance import client

        trusted = (
            self.conf.pvm_imagecache.keystone_auth_urls
            or client.auth_urls(self.conf)
        )
        if not trusted:
            raise exceptions.ConfigurationError(
                reason='auth_strategy = keystone requires a trusted '
                'Keystone: set keystone_auth_urls in [pvm_imagecache], '
                'or auth_url in [glance].'
            )
        session = self._user_session()
        if session is None:
            raise exceptions.KeystoneFailed(reason='no credentials were given')
        domains = self.conf.pvm_imagecache.keystone_domains
        if self.caller is None:
            return keystone.authenticate(session, trusted, domains=domains)
        glance.register(self.conf)
        return keystone.authenticate(
            session,
            trusted,
            keystone.configured_session(session, self.conf.glance),
            identity.user(),
            domains,
        )

    def _user_credentials(self) -> 'clouds.Credentials | None':
        """Return the credentials of the user, if any were given."""
        from pvm_imagecache.cmd import clouds

        if self._credentials is None:
            self._credentials = (
                clouds.from_cloud(
                    self.options.os_cloud, os.environ, self.caller
                )
                if self.options.os_cloud
                else clouds.from_environment(os.environ, self.caller)
            )
        return self._credentials

    def _user_session(self) -> 'ksa_session.Session | None':
        """Return a session with the credentials of the user, if any."""
        from pvm_imagecache.cmd import keystone

        credentials = self._user_credentials()
        if self._session is None and credentials is not None:
            self._session = keystone.session(credentials, self.caller)
        return self._session

    def _user_access(self) -> 'client.UserAccess | None':
        """Return how the user has access to Glance, if they have."""
        from pvm_imagecache.glance import client

        session, credentials = self._user_session(), self._user_credentials()
        if session is None or session.auth is None or credentials is None:
            return None
        where = credentials.location
        if self.caller is not None and where.servers:
            raise exceptions.KeystoneFailed(
                reason=f'image_endpoint_override of {credentials.source} is '
                'refused under sudo: set endpoint_override in [glance]'
            )
        return client.UserAccess(
            session, session.auth, where, credentials.source
        )

    # -- running

    def run(self, argv: list[str]) -> int:
        """Run a command line.

        :param argv: the arguments.
        :returns: the exit code.
        """
        try:
            code: int = super().run(argv)
        except (exceptions.PVMImageCacheError, OSError) as error:
            # The command could not be found or started.
            self.LOG.error(error)
            return exit_codes.FAILURE
        return code

    def run_subcommand(self, argv: list[str]) -> int:
        """Run a command. Called by cliff.

        cliff reports an unknown command on the standard output.

        :param argv: the arguments, without global options.
        :returns: the exit code.
        """
        try:
            self.command_manager.find_command(argv)
        except ValueError:
            return self.report_unknown_command(argv)
        return int(super().run_subcommand(argv))

    def report_unknown_command(self, words: Sequence[str]) -> int:
        """Report that there is no such command.

        :param words: the arguments, without global options.
        :returns: the exit code.
        """
        near = [f'"{each}"' for each in self.get_fuzzy_matches(words[0])]
        meant = f' Did you mean {" or ".join(near)}?' if near else ''
        self.LOG.error(
            f'There is no command "{" ".join(words)}".{meant} '
            f'"{self.NAME} help" lists all commands.'
        )
        return exit_codes.USAGE

    def initialize_app(self, argv: list[str]) -> None:
        """Print the help if no command was given. Called by cliff.

        :param argv: the arguments, without global options.
        :raises SystemExit: if there are none.
        """
        if not argv and not self.options.deferred_help:
            self.print_help(self.stderr)
            raise SystemExit(exit_codes.USAGE)

    def print_help_if_requested(self) -> None:
        """Print the help for the option --help. Called by cliff.

        :raises SystemExit: if the option was given.
        """
        if self.options.deferred_help:
            self.print_help(self.stdout)
            raise SystemExit(0)

    def print_help(self, out: TextIO) -> None:
        """Print the global options, and the list of commands.

        :param out: where to print them.
        """
        self.parser.print_help(out)
        out.write('\ncommands:\n')
        for name, entry_point in sorted(self.command_manager):
            try:
                found = entry_point.load()
                summary = (found.__doc__ or '').strip().partition('\n')[0]
            except exceptions.PluginInvalid as error:
                summary = (
                    f'cannot be used (from {error.distribution}): '
                    f'{error.reason}'
                )
            except (Exception, SystemExit) as error:
                summary = f'cannot be used: {error}'
            out.write(
                textwrap.fill(
                    f'  {name:<13}  {summary.rstrip(".")}',
                    _HELP_WIDTH,
                    subsequent_indent=' ' * 17,
                )
                + '\n'
            )

    def configure_logging(self) -> None:
        """Set the levels and formats of the log. Called by cliff."""
        path, self.options.log_file = self.options.log_file, None
        # cliff would open it with all rights of this process.
        super().configure_logging()
        if path:
            logging.getLogger().handlers.insert(
                0, log_files.handler(path, self.caller)
            )
        console = logging.getLogger().handlers[-1]
        console.setFormatter(
            log_files.ConsoleFormatter(self.CONSOLE_MESSAGE_FORMAT)
        )
        for handler in logging.getLogger().handlers:
            # The default prints a traceback for each line.
            handler.handleError = (  # type: ignore[method-assign]
                self._log_failed
            )
        verbosity = self.options.verbose_level
        if verbosity < _VERY_VERBOSE:
            console.setLevel(_LEVELS[verbosity])
            # Their errors are translated to errors of this project.
            for name in _CHATTY:
                logging.getLogger(name).setLevel(logging.CRITICAL)

    def _log_failed(self, record: logging.LogRecord) -> None:
        """Report once that the log file or terminal cannot be written."""
        if self._log_has_failed:
            return
        self._log_has_failed = True
        terminal.write(f'Could not write the log: {sys.exc_info()[1]}.')

    def clean_up(
        self,
        cmd: 'cliff_command.Command',
        result: int,
        err: BaseException | None,
    ) -> None:
        """Close the manager, and report unexpected errors. Called by cliff.

        :param cmd: the command.
        :param result: the exit code.
        :param err: the error with which the command failed, if any.
        """
        if self._reader is not None:
            self._reader.close()
        if self._manager is not None:
            self._manager.close()
        if not self.quiet:
            from pvm_imagecache.cmd import wait_notice

            wait_notice.stop()
        # OSError: the output was closed, or a disk is full.
        if isinstance(err, Exception) and not isinstance(
            err, exceptions.PVMImageCacheError | OSError
        ):
            self.LOG.error(
                'This should not have happened (%s). Run the command again '
                'with --debug, and report its output.',
                type(err).__name__,
            )


def _run(
    plugin: 'entry_points.Plugin',
    run: Callable[[argparse.Namespace], object],
    parsed_args: argparse.Namespace,
) -> int:
    """Run a command of another package; its errors name the package."""
    from pvm_imagecache.cmd import command_check

    try:
        code = run(parsed_args)
    except (exceptions.PVMImageCacheError, BrokenPipeError):
        raise
    except Exception as error:
        raise command_check.failed(plugin, error) from error
    if not isinstance(code, int):
        raise command_check.failed(
            plugin,
            TypeError(
                f'take_action returned {type(code).__name__}, not an exit '
                'code or None'
            ),
        )
    return code


def read_configuration(
    files: Sequence[str],
    directories: Sequence[str],
    caller: caller_module.Caller | None = None,
) -> 'cfg.ConfigOpts':
    """Read the configuration. The environment cannot override options.

    :param files: paths of configuration files; if empty, those of
        DEFAULT_FILES that exist.
    :param directories: paths of directories with configuration files.
    :param caller: the user on whose behalf this process runs, who may not
        choose any file.
    :returns: the options of this project.
    :raises ConfigurationError: if a file cannot be read or is invalid.
    :raises ConfigurationRefused: if the caller may not choose a file.
    """
    if caller is None or not (files or directories):
        return _read_configuration(files, directories)
    from pvm_imagecache.cmd import chosen_files

    # What is checked is what is read: no "~", and no ".." after a link.
    files = [os.path.abspath(each) for each in files]
    directories = [os.path.abspath(each) for each in directories]
    chosen_files.check_files(files, directories, caller)
    conf = _read_configuration(files, directories)
    default = (
        _read_configuration((), ())
        if any(map(os.path.exists, DEFAULT_FILES))
        else None
    )
    chosen_files.check_access(conf, default, [*files, *directories], caller)
    return conf


def _read_configuration(
    files: Sequence[str], directories: Sequence[str]
) -> 'cfg.ConfigOpts':
    # Not needed by --version and --help.
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
                if len(file.read(_MAX_CONFIGURATION + 1)) > _MAX_CONFIGURATION:
                    raise exceptions.ConfigurationError(
                        reason=f'The configuration file {each} has more than '
                        f'{_MAX_CONFIGURATION} characters.'
                    )
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, 'strerror', None) or str(error)
            raise exceptions.ConfigurationError(
                reason=f'The configuration file {each} cannot be read: '
                f'{reason}.'
            ) from error
    try:
        conf(
            arguments,
            project='pvm_imagecache',
            default_config_files=[],
            default_config_dirs=[],
            use_env=False,
        )
        # oslo.config validates values when they are first read.
        for option in conf.pvm_imagecache:
            getattr(conf.pvm_imagecache, option)
    except RecursionError as error:
        raise exceptions.ConfigurationError(
            reason='Invalid configuration: the value of an option refers to '
            'the option itself.'
        ) from error
    except (cfg.Error, ValueError, OSError) as error:
        shown = str(error)
        if isinstance(error, cfg.ConfigFileParseError):
            # The line could be one of a file that only root can read.
            shown = re.sub(r": ['\"].*", '', shown, flags=re.DOTALL)
        # oslo.config shows where a value was set as the repr of an object.
        message = re.sub(
            r" from LocationInfo\(.*?detail='([^']*)'\)",
            r' in [pvm_imagecache] of \1',
            shown,
        )
        raise exceptions.ConfigurationError(
            reason=f'Invalid configuration: {" ".join(message.split())}'
        ) from error
    return conf


def main(arguments: Sequence[str]) -> int:
    """Run a command line.

    :param arguments: the arguments.
    :returns: the exit code.
    """
    if not sys.warnoptions:
        # Warnings are for the developers of the libraries.
        warnings.simplefilter('ignore')
    return int(Shell().run(list(arguments)))
