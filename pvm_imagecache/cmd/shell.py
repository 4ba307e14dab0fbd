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

"""The command ``pvm-imagecache``: options, configuration, errors.

The commands themselves are plugins of ``pvm_imagecache.cli``. Each is
imported when help is asked for: what talks to PowerVM or Glance is imported
only when a command needs it.
"""

import argparse
from collections.abc import Sequence
import logging
import os
import re
import signal
import sys
import types
from typing import Any
from typing import Final
import warnings

from cliff import app
from cliff import commandmanager
from oslo_config import cfg

from pvm_imagecache.conf import cache
from pvm_imagecache import exceptions
from pvm_imagecache import version

DEFAULT_FILES: Final = (
    '/etc/nova/nova.conf', '/etc/pvm_imagecache/pvm_imagecache.conf')
NAMESPACE: Final = 'pvm_imagecache.cli'
EXIT_USAGE: Final = 2

_VERY_VERBOSE: Final = 2
_CHATTY: Final = ('pypowervm', 'oslo_config', 'keystoneauth', 'urllib3',
                  'glanceclient', 'stevedore', 'requests', 'taskflow',
                  'oslo_utils')

_DESCRIPTION: Final = (
    'See and change the image cache of this PowerVM host. It may be used '
    'at any time beside a running nova-compute.')


class Shell(app.App):
    """The application: reads the configuration when a command needs it."""

    #: Warnings only; -v adds what is being done, -vv what libraries say.
    DEFAULT_VERBOSE_LEVEL = 0

    def __init__(self) -> None:
        self._conf: Any = None
        self._source: Any = None
        self._manager: Any = None
        super().__init__(
            description=_DESCRIPTION, version=version.version_string(),
            command_manager=commandmanager.CommandManager(NAMESPACE),
            deferred_help=True)

    def build_option_parser(
        self, description: str | None, version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        parser = super().build_option_parser(
            description, version, argparse_kwargs)
        parser.add_argument(
            '--config-file', metavar='FILE', action='append', default=[],
            help='a configuration file, nova.conf for example; may be '
                 'given repeatedly, and the last one wins (default: those '
                 f'of {" and ".join(DEFAULT_FILES)} that there are)')
        parser.add_argument(
            '--config-dir', metavar='DIR', action='append', default=[],
            help='a directory whose .conf files are read after those')
        return parser

    @property
    def conf(self) -> Any:
        """The configuration that the options name.

        :raises ConfigurationError: if a file can't be read.
        """
        if self._conf is None:
            self._conf = read_configuration(
                self.options.config_file, self.options.config_dir)
        return self._conf

    @property
    def manager(self) -> Any:
        """An ImageManager, made at the first use and closed at the end."""
        if self._manager is None:
            from pvm_imagecache import manager
            self._manager = manager.ImageManager.from_conf(
                self.conf, self.source)
        return self._manager

    @property
    def source(self) -> Any:
        """The images of Glance, as the configured user sees them."""
        if self._source is None:
            from pvm_imagecache import glance_client
            from pvm_imagecache import image_source
            self._source = image_source.ImageSource(
                glance_client.factory(self.conf))
        return self._source

    def initialize_app(self, argv: list[str]) -> None:
        if not argv and not self.options.deferred_help:
            self.parser.print_help(self.stderr)
            raise SystemExit(EXIT_USAGE)

    def configure_logging(self) -> None:
        super().configure_logging()
        if self.options.verbose_level < _VERY_VERBOSE:
            # Their errors reach the user as errors of ours.
            for name in _CHATTY:
                logging.getLogger(name).setLevel(logging.CRITICAL)

    def clean_up(
        self, cmd: Any, result: int, err: BaseException | None
    ) -> None:
        if self._manager is not None:
            self._manager.close()
        # OSError: nobody reads what is printed, or a disk is full.
        # ValueError: so cliff refuses columns and commands that are not.
        if isinstance(err, Exception) and not isinstance(
                err, exceptions.PVMImageCacheError | OSError | ValueError):
            self.LOG.error(
                'This should not have happened (%s). Please run it again '
                'with --debug, and report what that shows.',
                type(err).__name__)


def read_configuration(
    files: Sequence[str], directories: Sequence[str]
) -> Any:
    """Read configuration files into a ConfigOpts with our options.

    :param files: where there are none, those of DEFAULT_FILES that exist.
    :raises ConfigurationError: if one can't be read, or makes no sense.
    """
    chosen = list(files) or [
        each for each in DEFAULT_FILES if os.path.exists(each)]
    arguments = [f'--config-file={each}' for each in chosen]
    arguments += [f'--config-dir={each}' for each in directories]
    conf = cfg.ConfigOpts()
    cache.register(conf)
    for each in chosen:
        try:
            with open(each, encoding='utf-8') as file:
                file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, 'strerror', None) or str(error)
            raise exceptions.ConfigurationError(
                reason=f'The configuration file {each} can not be read: '
                       f'{reason}.') from error
    try:
        conf(arguments, project='pvm_imagecache', default_config_files=[],
             default_config_dirs=[])
        # Values are checked when they are first read: read them all now.
        for option in conf.pvm_imagecache:
            getattr(conf.pvm_imagecache, option)
    except (cfg.Error, ValueError, OSError) as error:
        # Where a value was set, oslo.config tells with the repr of an
        # object of its own.
        text = re.sub(r" from LocationInfo\(.*?detail='([^']*)'\)",
                      r' in [pvm_imagecache] of \1', str(error))
        raise exceptions.ConfigurationError(
            reason='The configuration is not right: '
                   f'{" ".join(text.split())}') from error
    return conf


def _end(number: int, frame: types.FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point of the console script."""
    # The clean-up after a broken deploy is not for Ctrl-C alone.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    if not sys.warnoptions:
        # They are for developers of the libraries that give them.
        warnings.simplefilter('ignore')
    return int(Shell().run(
        list(sys.argv[1:] if arguments is None else arguments)))


if __name__ == '__main__':
    sys.exit(main())
