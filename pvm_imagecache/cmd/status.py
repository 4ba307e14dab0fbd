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

"""The command ``pvm-imagecache-status``: check that a host is ready.

Run ``pvm-imagecache-status upgrade check`` with a new release before
services are restarted, and whenever you suspect a problem. It changes
nothing.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import logging
import os
import sys
from typing import Any
from typing import Final
from typing import TYPE_CHECKING
import warnings

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.conf import access
from pvm_imagecache.conf import cache
from pvm_imagecache.system import caller as caller_module
from pvm_imagecache.system import environment
from pvm_imagecache.system import terminal

if TYPE_CHECKING:
    from pvm_imagecache.catalog import models
    from pvm_imagecache.drivers import base as drivers
    from pvm_imagecache.system import releases

_ERROR: Final = 255
_Code = upgradecheck.Code
_Result = upgradecheck.Result
_NOT_MEASURED: Final = _Result(
    _Code.SUCCESS,
    'The platform was not measured. See "pvm-imagecache platform check".',
)
_NO_DRIVER: Final = _Result(
    _Code.FAILURE, 'Not checked: driver failed to load'
)


def _reported(
    check: 'Callable[[Checks], _Result]',
) -> 'Callable[[Checks], _Result]':
    """Return a check that reports unexpected errors as its result.

    With libraries that are too old, anything can fail. The check of the
    libraries then shows the cause.
    """

    @functools.wraps(check)
    def report(checks: 'Checks') -> _Result:
        try:
            return check(checks)
        except Exception as error:
            return _Result(
                _Code.FAILURE, f'Not checked: {text.foreign_error(error)}.'
            )

    return report


class Checks(upgradecheck.UpgradeCommands):
    """The checks, in the order in which they are made.

    :param conf: the configuration.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._driver: drivers.DiskDriver | None = None
        #: None as long as the disks of the pool were not read.
        self._others: Sequence[models.OtherCatalog] | None = None

    def close(self) -> None:
        """Close the session with PowerVM."""
        if self._driver is not None:
            self._driver.close()

    def _policy_file(self) -> _Result:
        path = self._conf.pvm_imagecache.policy_file
        from pvm_imagecache.policies import enforcer
        from pvm_imagecache.policies import policy_file

        try:
            if not policy_file.exists(path):
                return _Result(
                    _Code.SUCCESS,
                    f'No policy file ({path}); defaults in use',
                )
            loaded = enforcer.get_enforcer(path)
        except exceptions.ConfigurationError as error:
            return _Result(_Code.FAILURE, str(error))
        unknown = sorted(set(loaded.file_rules) - set(loaded.registered_rules))
        if unknown:
            return _Result(
                _Code.WARNING,
                f'{path} has unknown rules: {", ".join(unknown)}',
            )
        return _Result(_Code.SUCCESS)

    def _catalog(self) -> _Result:
        from pvm_imagecache.catalog import file as catalog_file
        from pvm_imagecache.catalog import schema

        path = cache.catalog_path(self._conf)
        try:
            found = catalog_file.version_of(path)
        except exceptions.CatalogError as error:
            return _Result(_Code.FAILURE, str(error))
        if found is None:
            return _Result(_Code.SUCCESS, f'{path} does not exist yet.')
        known = schema.VERSION
        if found > known:
            return _Result(
                _Code.FAILURE,
                f'{path} has version {found}, which is newer than this '
                f'release ({known}): upgrade pvm_imagecache.',
            )
        if found < known:
            return _Result(
                _Code.WARNING,
                f'{path} has version {found}. Its first use upgrades it to '
                f'version {known}; older releases cannot use it after that.',
            )
        return _Result(_Code.SUCCESS)

    def _nova(self) -> _Result:
        from pvm_imagecache.system import releases

        found = releases.find(releases.NOVA)
        if found is None:
            return _Result(
                _Code.SUCCESS,
                'nova is not installed in the Python environment of '
                'this command.',
            )
        return _of_release(found)

    def _pypowervm(self) -> _Result:
        from pvm_imagecache.system import releases

        found = releases.find(releases.PYPOWERVM)
        if found is None:
            return _Result(_Code.FAILURE, 'pypowervm is not installed.')
        return _of_release(found)

    def _libraries(self) -> _Result:
        from pvm_imagecache.system import releases

        too_old = releases.below_bounds()
        if too_old:
            return _Result(
                _Code.FAILURE,
                f'{"; ".join(too_old)}. Install the versions that '
                'pvm_imagecache requires.',
            )
        return _Result(_Code.SUCCESS)

    def _watermarks(self) -> _Result:
        from pvm_imagecache.conf import watermark

        if 'watermark' not in self._conf.pvm_imagecache.eviction_policies:
            return _Result(
                _Code.SUCCESS, 'The watermark policy is not enabled.'
            )
        try:
            high, low = watermark.marks(self._conf)
        except (exceptions.ConfigurationError, cfg.Error, ValueError) as error:
            return _Result(_Code.FAILURE, text.one_line(error))
        if not low:
            return _Result(
                _Code.WARNING,
                'low is 0: when the pool is full, all images are evicted.',
            )
        if high - low < 1:
            return _Result(
                _Code.WARNING,
                'high and low are equal: almost each cleanup run evicts an '
                'image.',
            )
        return _Result(_Code.SUCCESS)

    def _plugins(self) -> _Result:
        from pvm_imagecache import plugins

        try:
            self._driver = plugins.load_driver(self._conf)
            plugins.load_policies(self._conf)
        except exceptions.PVMImageCacheError as error:
            return _Result(_Code.FAILURE, str(error))
        # Neither deploys nor other commands need these.
        unused = [*self._unusable_listeners(), *_unusable_commands()]
        if unused:
            return _Result(_Code.WARNING, ' '.join(unused))
        return _Result(_Code.SUCCESS)

    def _unusable_listeners(self) -> list[str]:
        from pvm_imagecache import plugins

        names = self._conf.pvm_imagecache.listeners
        found = [
            each
            for each in plugins.installed(self._conf)
            if each.namespace == plugins.LISTENERS and each.name in names
        ]
        missing = [
            f'The listener "{name}" is not installed.'
            for name in dict.fromkeys(names)
            if name not in {each.name for each in found}
        ]
        return [*missing, *(each.error for each in found if each.error)]

    def _pool(self) -> _Result:
        if self._driver is None:
            return _NO_DRIVER
        try:
            pool = self._driver.pool()
        except exceptions.PVMImageCacheError as error:
            return _Result(_Code.FAILURE, str(error))
        return _Result(_Code.SUCCESS, f'{pool.name} is {pool.id}.')

    def _untracked_disks(self) -> _Result:
        from pvm_imagecache import naming
        from pvm_imagecache.catalog import facade
        from pvm_imagecache.catalog import reader as catalog_reader
        from pvm_imagecache.cleanup import ownership
        from pvm_imagecache.drivers import base

        if self._driver is None:
            return _NO_DRIVER
        if base.Capability.IMAGE_CACHE not in self._driver.capabilities:
            return _Result(_Code.SUCCESS, 'The pool caches images itself.')
        opened = facade.Catalog(cache.catalog_path(self._conf), read_only=True)
        try:
            found = self._driver.snapshot()
            pool, disks = found.pool, found.disks
            records = catalog_reader.CatalogReader(opened, pool.id).list()
            own = opened.identity.own() if opened.exists else ()
        except exceptions.PVMImageCacheError as error:
            return _Result(_Code.WARNING, f'Not checked: {error}')
        adopted = {each.udid for each in records}
        self._others = ownership.other_catalogs(
            (each for each in disks if each.udid not in adopted), own
        )
        known = {each.disk_name for each in records}
        names = sorted(
            each.name
            for each in disks
            if naming.is_base_image_name(each.name)
            and each.name not in known
            and not ownership.other_catalog_of(each, own)
        )
        if names:
            return _Result(
                _Code.WARNING,
                f'{", ".join(names)}: untracked disks, which are not served. '
                'See "pvm-imagecache adopt".',
            )
        return _Result(_Code.SUCCESS)

    def _other_catalogs(self) -> _Result:
        from pvm_imagecache.cmd import formatting

        if self._driver is None:
            return _NO_DRIVER
        if self._others is None:
            return _Result(_Code.SUCCESS, 'Not checked: no disks were read.')
        if self._others:
            found = formatting.OtherCatalogs(self._others).human_readable()
            return _Result(
                _Code.WARNING,
                f'The pool has disks of other catalogs: {found}. They are '
                'not changed. Possible causes: another host caches images in '
                'this pool; state_path was changed; the state directory was '
                'deleted. See "pvm-imagecache verify --help".',
            )
        return _Result(_Code.SUCCESS)

    def _platform_facts(self) -> _Result:
        from pvm_imagecache.catalog import facade
        from pvm_imagecache.platform_check import report

        if self._driver is None:
            return _NO_DRIVER
        path = cache.catalog_path(self._conf)
        if not os.path.lexists(path):
            return _NOT_MEASURED
        try:
            access = self._driver.platform_access()
            records = facade.Catalog(path, read_only=True).platform_facts.list(
                self._driver.pool_id()
            )
            level = str(access.levels()) if records else ''
        except exceptions.NotSupported as error:
            return _Result(_Code.SUCCESS, str(error))
        except exceptions.PVMImageCacheError as error:
            return _Result(_Code.WARNING, f'Not checked: {error}')
        if not records:
            return _NOT_MEASURED
        if report.is_out_of_date(records.values(), level):
            return _Result(
                _Code.WARNING,
                f'The platform was measured at another level than {level}. '
                'Run "pvm-imagecache platform check" again.',
            )
        return _Result(_Code.SUCCESS)

    _upgrade_checks = tuple(
        (name, _reported(check))
        for name, check in (
            ('Policy file', _policy_file),
            ('Catalog', _catalog),
            ('nova', _nova),
            ('pypowervm', _pypowervm),
            ('Libraries', _libraries),
            ('Plugins', _plugins),
            ('Watermarks', _watermarks),
            ('Pool', _pool),
            ('Untracked disks', _untracked_disks),
            # After the check that reads the disks.
            ('Other catalogs', _other_catalogs),
            ('Platform facts', _platform_facts),
        )
    )


def _of_release(found: 'releases.Installed') -> _Result:
    """Return what the release of a distribution means for an upgrade."""
    from pvm_imagecache.system import releases

    if found.state is releases.State.TESTED:
        return _Result(_Code.SUCCESS, f'{found}: supported.')
    supported = f'this release supports {found.supported}.'
    if found.state is releases.State.TOO_OLD:
        return _Result(_Code.FAILURE, f'{found} is too old: {supported}')
    return _Result(_Code.WARNING, f'{found} was not tested: {supported}')


def _unusable_commands() -> list[str]:
    """Return why commands of other packages cannot be used."""
    from pvm_imagecache import plugins
    from pvm_imagecache.cmd import command_check
    from pvm_imagecache.cmd import command_manager
    from pvm_imagecache.system import entry_points

    errors = (
        plugins.error_of(each, command_check.load)
        for each in command_manager.find_others(entry_points.COMMANDS)
    )
    return [each for each in errors if each]


class _Configuration(cfg.ConfigOpts):
    """Options that the environment does not override, as in the shell."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Read the configuration; called by oslo.upgradecheck.

        :param args: as oslo.config has them.
        :param kwargs: as oslo.config has them.
        """
        super().__call__(*args, **kwargs | {'use_env': False})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: the arguments; None for those of the process.
    :returns: the exit code: 0 without findings, 1 with warnings, 2 with
        failures, 255 if the checks could not be run.
    """
    environment.restrict()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if caller_module.current() and any(
        # Options can be abbreviated.
        each.startswith('--c')
        for each in given
    ):
        terminal.write(
            'Under sudo only the default configuration files are checked.'
        )
        return _ERROR
    files = (
        _default_files()
        if not any(each.startswith('--config-') for each in given)
        else []
    )
    conf = _Configuration()
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
        terminal.write(f'Invalid configuration: {text.one_line(error)}.')
        return _ERROR
    finally:
        checks.close()


def _default_files() -> list[str]:
    from pvm_imagecache.cmd import shell

    return [each for each in shell.DEFAULT_FILES if os.path.exists(each)]


if __name__ == '__main__':
    sys.exit(main())
