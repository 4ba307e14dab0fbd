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

"""The command ``pvm-imagecache-status``: whether all is fit for use.

``pvm-imagecache-status upgrade check`` is to be run before a service is
restarted with a new release, and whenever something seems wrong. It changes
nothing.
"""

from collections.abc import Sequence
import logging
import os
import sqlite3
import sys
from typing import Any
from typing import Final
import warnings

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import shell
from pvm_imagecache.conf import access
from pvm_imagecache.conf import cache

#: pypowervm of this release is what everything was tested with.
LEAST_PYPOWERVM: Final = (1, 1, 27)

_ERROR: Final = 255
_Code = upgradecheck.Code
_Result = upgradecheck.Result
_NO_DRIVER: Final = _Result(_Code.FAILURE, 'There is no driver to ask.')


class Checks(upgradecheck.UpgradeCommands):
    """The checks, in the order in which they are made."""

    def __init__(self, conf: Any) -> None:
        self._conf = conf
        self._driver: Any = None

    def close(self) -> None:
        """Log off from PowerVM."""
        if self._driver is not None:
            self._driver.close()

    def _policy_file(self) -> Any:
        path = self._conf.pvm_imagecache.policy_file
        if not os.path.exists(path):
            return _Result(
                _Code.SUCCESS,
                f'{path} is not there: the rules are those in code.',
            )
        from pvm_imagecache.policies import enforcer

        try:
            made = enforcer.get_enforcer(path)
        except exceptions.ConfigurationError as error:
            return _Result(_Code.FAILURE, str(error))
        unknown = sorted(set(made.file_rules) - set(made.registered_rules))
        if unknown:
            return _Result(
                _Code.WARNING,
                f'{path} has rules that nobody asks for: {", ".join(unknown)}',
            )
        return _Result(_Code.SUCCESS)

    def _catalogue(self) -> Any:
        path = cache.catalog_path(self._conf)
        from pvm_imagecache import catalog_schema

        try:
            if not os.path.exists(path):
                return _Result(_Code.SUCCESS, f'{path} is not there yet.')
            found = _version(path)
        except (sqlite3.Error, OSError) as error:
            return _Result(_Code.FAILURE, f'{path} can not be read: {error}')
        known = catalog_schema.VERSION
        if found > known:
            return _Result(
                _Code.FAILURE,
                f'{path} has version {found}, which is newer than this '
                f'release ({known}): upgrade pvm_imagecache.',
            )
        if found < known:
            return _Result(
                _Code.WARNING,
                f'{path} has version {found} and becomes {known} at its '
                'first use; older releases can not use it after that.',
            )
        return _Result(_Code.SUCCESS)

    def _pypowervm(self) -> Any:
        from importlib import metadata

        try:
            text = metadata.version('pypowervm')
        except metadata.PackageNotFoundError:
            return _Result(_Code.FAILURE, 'pypowervm is not installed.')
        numbers = tuple(
            int(each) for each in text.split('.')[:3] if each.isdigit()
        )
        if numbers < LEAST_PYPOWERVM:
            return _Result(
                _Code.FAILURE,
                f'pypowervm {text} is older than '
                f'{".".join(map(str, LEAST_PYPOWERVM))}.',
            )
        return _Result(_Code.SUCCESS)

    def _watermarks(self) -> Any:
        from pvm_imagecache.conf import watermark

        if 'watermark' not in self._conf.pvm_imagecache.eviction_policies:
            return _Result(_Code.SUCCESS, 'The policy is not enabled.')
        try:
            high, low = watermark.marks(self._conf)
        except (exceptions.ConfigurationError, cfg.Error, ValueError) as error:
            return _Result(_Code.FAILURE, ' '.join(str(error).split()))
        if not low:
            return _Result(
                _Code.WARNING,
                'low is 0: once the pool is full the whole cache goes.',
            )
        if high - low < 1:
            return _Result(
                _Code.WARNING,
                'high and low are the same: an '
                'image goes at almost each pass.',
            )
        return _Result(_Code.SUCCESS)

    def _plugins(self) -> Any:
        from pvm_imagecache import plugins

        try:
            self._driver = plugins.load_driver(self._conf)
            plugins.load_policies(self._conf)
        except exceptions.PVMImageCacheError as error:
            return _Result(_Code.FAILURE, str(error))
        return _Result(_Code.SUCCESS)

    def _pool(self) -> Any:
        if self._driver is None:
            return _NO_DRIVER
        try:
            pool = self._driver.pool()
        except exceptions.PVMImageCacheError as error:
            return _Result(_Code.FAILURE, str(error))
        return _Result(_Code.SUCCESS, f'{pool.name} is {pool.id}.')

    def _untracked_disks(self) -> Any:
        from pvm_imagecache import catalog
        from pvm_imagecache import naming
        from pvm_imagecache import records
        from pvm_imagecache.drivers import base

        if self._driver is None:
            return _NO_DRIVER
        if base.Capability.IMAGE_CACHE not in self._driver.capabilities:
            return _Result(_Code.SUCCESS, 'The pool keeps images itself.')
        opened = catalog.Catalog(
            cache.catalog_path(self._conf), read_only=True
        )
        try:
            found = self._driver.snapshot()
            pool, disks = found.pool, found.disks
            known = {
                each.disk_name
                for each in records.Records(opened, pool.id).list()
            }
        except exceptions.PVMImageCacheError as error:
            return _Result(_Code.WARNING, f'That can not be told: {error}')
        names = sorted(
            each.name
            for each in disks
            if naming.is_base_image_name(each.name) and each.name not in known
        )
        if names:
            return _Result(
                _Code.WARNING,
                f'{", ".join(names)}: named as cached images, and not known '
                'to the cache. They are not served; see "pvm-imagecache '
                'adopt".',
            )
        return _Result(_Code.SUCCESS)

    _upgrade_checks = (
        ('Policy file', _policy_file),
        ('Catalogue', _catalogue),
        ('pypowervm', _pypowervm),
        ('Plugins', _plugins),
        ('Watermarks', _watermarks),
        ('Pool', _pool),
        ('Untracked disks', _untracked_disks),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point: 0 all well, 1 warnings, 2 failures, 255 an error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    files = (
        _default_files()
        if not any(each.startswith('--config-') for each in given)
        else []
    )
    conf = cfg.ConfigOpts()
    cache.register(conf)
    access.register(conf)
    checks = Checks(conf)
    if not sys.warnoptions:
        warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    try:
        return int(
            upgradecheck.main(conf, 'pvm_imagecache', checks, given, files)
        )
    except (cfg.Error, ValueError, OSError) as error:
        text = ' '.join(str(error).split())
        print(f'The configuration is not right: {text}', file=sys.stderr)
        return _ERROR
    finally:
        checks.close()


def _default_files() -> list[str]:
    return [each for each in shell.DEFAULT_FILES if os.path.exists(each)]


def _version(path: str) -> int:
    """The version of a catalogue, which is neither made nor changed."""
    from urllib import parse

    mode = '' if os.path.exists(f'{path}-wal') else '&immutable=1'
    connection = sqlite3.connect(
        f'file:{parse.quote(path)}?mode=ro{mode}', uri=True
    )
    try:
        return int(connection.execute('PRAGMA user_version').fetchone()[0])
    finally:
        connection.close()


if __name__ == '__main__':
    sys.exit(main())
