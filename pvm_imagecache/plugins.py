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

"""Load drivers and eviction policies, and check them against contracts.

A plugin is found by the name of its entry point. It is refused if

* it is not installed, or two distributions install one of that name;
* it cannot be imported;
* it does not follow its contract: version, methods and their parameters.

The error names the plugin and its distribution.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import functools
from importlib import metadata
import inspect
import os
import sys
from typing import Any
from typing import Final

from oslo_config import cfg
from oslo_log import log as logging
from stevedore import named

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.conf import types
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.eviction import time_limit

LOG = logging.getLogger(__name__)

#: Namespace of the entry points of disk drivers.
DRIVERS: Final = 'pvm_imagecache.drivers'
#: Namespace of the entry points of eviction policies.
EVICTION: Final = 'pvm_imagecache.eviction'

_CONTRACTS: Final[dict[str, tuple[type[Any], int]]] = {
    DRIVERS: (driver_base.DiskDriver, driver_base.API_VERSION),
    EVICTION: (eviction_base.EvictionPolicy, eviction_base.API_VERSION),
}
_METHODS_OF: Final = {
    driver_base.Capability.IMAGE_CACHE: (
        'snapshot',
        'create_disks',
        'upload',
        'copy_disk',
        'remove_uploads',
        'mapped',
    ),
    driver_base.Capability.OWN_IMAGE_CACHE: ('create_disk_from_image',),
    driver_base.Capability.SIGNED_IMAGES: ('create_disk_from_image',),
}


@dataclasses.dataclass(frozen=True)
class Installed:
    """An installed plugin, usable or not.

    :ivar namespace: of its entry point.
    :ivar name: of its entry point.
    :ivar module: module and class, as ``module:Class``.
    :ivar distribution: name and version of the distribution that installs
        it.
    :ivar error: why it cannot be used; None if it can.
    """

    namespace: str
    name: str
    module: str
    distribution: str
    error: str | None


def load_driver(conf: types.Conf) -> driver_base.DiskDriver:
    """Make the driver that the option ``disk_driver`` names.

    :param conf: the configuration of the process.
    :returns: the driver; it has sent no request to PowerVM yet.
    :raises PluginNotFound: if no driver of that name is installed.
    :raises PluginInvalid: if the driver cannot be imported, does not follow
        the contract, or cannot be made for another reason than an option.
    :raises ConfigurationError: if an option of the driver has an invalid
        value.
    """
    return _make(DRIVERS, conf.pvm_imagecache.disk_driver, conf)


def load_policies(conf: types.Conf) -> list[pipeline.NamedPolicy]:
    """Make the policies that the option ``eviction_policies`` lists.

    :param conf: the configuration of the process.
    :returns: in the order of the option.
    :raises PluginNotFound: if a policy is not installed.
    :raises PluginInvalid: if a policy cannot be imported, does not follow
        the contract, or cannot be made for another reason than an option.
    :raises ConfigurationError: if the option names a policy twice, or an
        option of a policy has an invalid value.
    """
    names = conf.pvm_imagecache.eviction_policies
    for name in names:
        if names.count(name) > 1:
            raise exceptions.ConfigurationError(
                reason=f'eviction_policies in [pvm_imagecache] names {name} '
                'more than once.'
            )
    return [_make_policy(name, conf) for name in names]


def load_usable_policies(conf: types.Conf) -> list[pipeline.NamedPolicy]:
    """Make the policies that can be used, and log an error for each other.

    A missing policy only keeps images in the cache longer. It must not
    prevent the start of a service.

    :param conf: the configuration of the process.
    :returns: in the order of the option ``eviction_policies``, each once.
    """
    usable = []
    for name in dict.fromkeys(conf.pvm_imagecache.eviction_policies):
        try:
            usable.append(_make_policy(name, conf))
        except (
            exceptions.PluginError,
            exceptions.ConfigurationError,
        ) as error:
            LOG.error(
                'Continuing without eviction policy %(name)s: %(error)s',
                {'name': name, 'error': error},
            )
    return usable


def _make_policy(name: str, conf: types.Conf) -> pipeline.NamedPolicy:
    return pipeline.NamedPolicy(
        name, _make(EVICTION, name, conf), _distributions(EVICTION, name)
    )


def _make(namespace: str, name: str, conf: types.Conf) -> Any:
    """Load a plugin, and make an object of it."""
    plugin = _load(namespace, name)
    invalid = functools.partial(
        exceptions.PluginInvalid,
        name=name,
        namespace=namespace,
        distribution=_distributions(namespace, name),
    )
    try:
        made = time_limit.BoundedCall(
            lambda: plugin.from_conf(conf), name=f'from-conf-{name}'
        ).result()
    except exceptions.ConfigurationError:
        raise
    except (cfg.Error, ValueError) as error:
        raise exceptions.ConfigurationError(
            reason=f'Invalid option of plugin "{name}" of {namespace}: '
            f'{text.one_line(error)}.'
        ) from error
    except (time_limit.TimeLimitExceeded, time_limit.ExitedError) as error:
        raise invalid(reason=f'from_conf: {error}') from error
    except Exception as error:
        raise invalid(
            reason=f'from_conf raised {type(error).__name__}: {error}'
        ) from error
    if not isinstance(made, _CONTRACTS[namespace][0]):
        raise invalid(reason=f'from_conf returned {made!r}')
    return made


def installed() -> list[Installed]:
    """Return the installed plugins of all namespaces.

    Each plugin is imported and checked, but no object of it is made.

    :returns: sorted by namespace and name.
    """
    found = []
    for namespace in _CONTRACTS:
        for entry_point in _entry_points(namespace):
            try:
                _load(namespace, entry_point.name)
                error = None
            except exceptions.PluginError as problem:
                error = str(problem)
            found.append(
                Installed(
                    namespace,
                    entry_point.name,
                    entry_point.value,
                    _distribution(entry_point),
                    error,
                )
            )
    return sorted(found, key=lambda each: (each.namespace, each.name))


def _load(namespace: str, name: str) -> Any:
    """Import and check the class of an entry point."""
    invalid = functools.partial(
        exceptions.PluginInvalid, name=name, namespace=namespace
    )
    candidates = [
        each for each in _entry_points(namespace) if each.name == name
    ]
    if not candidates:
        raise exceptions.PluginNotFound(
            name=name,
            namespace=namespace,
            known=', '.join(
                sorted({each.name for each in _entry_points(namespace)})
            )
            or 'none',
        )
    distributions = _distributions(namespace, name)
    if len(candidates) > 1:
        raise invalid(
            distribution=distributions,
            reason='several distributions install a plugin of that name. '
            'Uninstall all but one of them.',
        )
    try:
        plugin = _import(namespace, name)
    except (Exception, SystemExit) as error:
        raise invalid(
            distribution=distributions,
            reason=f'importing it raised {type(error).__name__}: {error}',
        ) from error
    reasons = list(_faults(plugin, *_CONTRACTS[namespace]))
    if reasons:
        raise invalid(distribution=distributions, reason='; '.join(reasons))
    return plugin


def _import(namespace: str, name: str) -> Any:
    failures: list[BaseException] = []
    # No conflict_resolver: stevedore has it since 5.6.0, OpenStack 2025.1 has
    # 5.4.1, and a name that two plugins have is refused before.
    manager: Any = named.NamedExtensionManager(
        namespace,
        [name],
        invoke_on_load=False,
        on_load_failure_callback=(
            lambda _manager, _entry_point, error: failures.append(error)
        ),
        warn_on_missing_entrypoint=False,
    )
    if failures:
        raise failures[0]
    return manager[name].plugin


def _faults(plugin: Any, contract: type[Any], version: int) -> Iterator[str]:
    """Yield each violation of the contract."""
    if not _is_kind_of(plugin, contract):
        yield (
            f'it is not a subclass of {contract.__module__}.'
            f'{contract.__name__}'
        )
        return
    if plugin.api_version != version:
        yield (
            f'it follows version {plugin.api_version} of the contract; '
            f'this release supports version {version}'
        )
    missing = sorted(getattr(plugin, '__abstractmethods__', ()))
    if missing:
        yield f'it lacks {", ".join(missing)}'
    capabilities = getattr(plugin, 'capabilities', ())
    if not isinstance(capabilities, frozenset | tuple) or not all(
        isinstance(each, driver_base.Capability) for each in capabilities
    ):
        yield 'its capabilities are not a frozenset of Capability'
        return
    for capability in capabilities:
        for method in _METHODS_OF.get(capability, ()):
            if getattr(plugin, method) is getattr(contract, method):
                yield f'it declares {capability.value} but lacks {method}'
    try:
        inspect.signature(plugin.from_conf).bind('conf')
    except TypeError as error:
        yield f'from_conf must accept (conf): {error}'
    for method, function in inspect.getmembers(contract, inspect.isfunction):
        if not method.startswith('_'):
            yield from _signature_faults(plugin, method, function)


def _is_kind_of(plugin: Any, contract: type[Any]) -> bool:
    return inspect.isclass(plugin) and issubclass(plugin, contract)


def _signature_faults(
    plugin: type, method: str, function: Callable[..., Any]
) -> Iterator[str]:
    """Yield an error if a method cannot be called as in the contract."""
    wanted = inspect.signature(function).parameters
    actual = getattr(plugin, method)
    try:
        inspect.signature(actual).bind(*wanted)
    except TypeError as error:
        yield f'{method} must accept ({", ".join(wanted)}): {error}'
    except ValueError as error:
        LOG.debug(
            'The parameters of %s.%s are not checked: %s',
            plugin,
            method,
            error,
        )


def _entry_points(namespace: str) -> tuple[Any, ...]:
    return _scan(namespace, tuple(_changed_at(each) for each in sys.path))


@functools.lru_cache(maxsize=len(_CONTRACTS))
def _scan(
    namespace: str, path: tuple[tuple[str, int], ...]
) -> tuple[Any, ...]:
    """Return the entry points that are on a path.

    This reads a file of each distribution, and a manager needs the answer
    ten times.
    """
    return tuple(metadata.entry_points(group=namespace))


def _changed_at(directory: str) -> tuple[str, int]:
    """Return a value that differs after a plugin was installed there."""
    try:
        return directory, os.stat(directory or '.').st_mtime_ns
    except OSError:
        return directory, 0


def _distributions(namespace: str, name: str) -> str:
    """Return the distributions that install a plugin; one is expected."""
    return ' and '.join(
        sorted(
            _distribution(each)
            for each in _entry_points(namespace)
            if each.name == name
        )
    )


def _distribution(entry_point: Any) -> str:
    origin = getattr(entry_point, 'dist', None)
    return f'{origin.name} {origin.version}' if origin else 'unknown'
