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

"""Load drivers, policies and listeners, and check them against contracts.

A plugin is found by the name of its entry point. It is refused if

* it is not installed;
* it has the name of a built-in plugin, or two packages install one of that
  name: see :mod:`pvm_imagecache.system.entry_points`;
* it cannot be imported;
* it does not follow its contract: version, methods and their parameters.

The error names the plugin and its distribution. A plugin that was written
for the version before the current one of its contract is loaded, with a
deprecation warning.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import inspect
import types as types_module
from typing import Any
from typing import Final

from oslo_config import cfg
from oslo_log import log as logging

from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import text
from pvm_imagecache.conf import types
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.eviction import time_limit
from pvm_imagecache.system import entry_points
from pvm_imagecache.system import warn_once

LOG = logging.getLogger(__name__)

#: Namespace of the entry points of disk drivers.
DRIVERS: Final = 'pvm_imagecache.drivers'
#: Namespace of the entry points of eviction policies.
EVICTION: Final = 'pvm_imagecache.eviction'

#: Namespace of the entry points of listeners.
LISTENERS: Final = 'pvm_imagecache.listeners'

_CONTRACTS: Final[dict[str, tuple[types_module.ModuleType, type[Any]]]] = {
    DRIVERS: (driver_base, driver_base.DiskDriver),
    EVICTION: (eviction_base, eviction_base.EvictionPolicy),
    LISTENERS: (events, events.EventListener),
}
#: Names that no plugin of another package may have.
_RESERVED: Final = {EVICTION: (pipeline.CORE,)}
_WARNINGS: Final = warn_once.WarnOnce(LOG)
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
    :ivar package: name of the distribution that installs it.
    :ivar version: version of the distribution; '' if unknown.
    :ivar error: why it cannot be used; None if it can.
    :ivar conflict: whether it is refused because of its name.
    :ivar misconfigured: whether one of its options has an invalid value.
    """

    namespace: str
    name: str
    module: str
    package: str
    version: str
    error: str | None
    conflict: bool = False
    misconfigured: bool = False

    @property
    def distribution(self) -> str:
        """Name and version of the distribution that installs it."""
        return f'{self.package} {self.version}'.strip()


@dataclasses.dataclass(frozen=True)
class LoadedListener:
    """A listener with its name and origin.

    :ivar name: of the entry point, as in the option ``listeners``.
    :ivar listener: the listener itself.
    :ivar origin: name and version of its distribution.
    :ivar built_in: whether it is one of this project.
    """

    name: str
    listener: events.EventListener
    origin: str
    built_in: bool


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
    return _make(DRIVERS, conf.pvm_imagecache.disk_driver, conf)[1]


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


def load_listeners(conf: types.Conf) -> list[LoadedListener]:
    """Make the listeners that the option ``listeners`` names.

    :param conf: the configuration of the process.
    :returns: in the order of the option, each once.
    :raises PluginNotFound: if a listener is not installed.
    :raises PluginInvalid: if a listener cannot be imported, does not follow
        the contract, or cannot be made for another reason than an option.
    :raises ConfigurationError: if an option of a listener has an invalid
        value.
    """
    return [
        _make_listener(name, conf)
        for name in dict.fromkeys(conf.pvm_imagecache.listeners)
    ]


def load_usable_listeners(conf: types.Conf) -> list[LoadedListener]:
    """Make the listeners that can be used, and log an error for each other.

    A listener is never needed for what the cache does.

    :param conf: the configuration of the process.
    :returns: in the order of the option ``listeners``, each once.
    """
    usable = []
    for name in dict.fromkeys(conf.pvm_imagecache.listeners):
        try:
            usable.append(_make_listener(name, conf))
        except (
            exceptions.PluginError,
            exceptions.ConfigurationError,
        ) as error:
            LOG.error(
                'Continuing without event listener %(name)s: %(error)s',
                {'name': name, 'error': error},
            )
    return usable


def _make_listener(name: str, conf: types.Conf) -> LoadedListener:
    plugin, made = _make(LISTENERS, name, conf)
    return LoadedListener(name, made, plugin.distribution, plugin.built_in)


def _make_policy(name: str, conf: types.Conf) -> pipeline.NamedPolicy:
    plugin, made = _make(EVICTION, name, conf)
    return pipeline.NamedPolicy(name, made, plugin.distribution)


def _make(
    namespace: str, name: str, conf: types.Conf
) -> tuple[entry_points.Plugin, Any]:
    """Load a plugin, and make an object of it."""
    plugin, loaded = _load(namespace, name)
    try:
        made = time_limit.BoundedCall(
            lambda: loaded.from_conf(conf), name=f'from-conf-{name}'
        ).result()
    except exceptions.ConfigurationError as error:
        if plugin.built_in:
            raise
        raise exceptions.ConfigurationError(
            reason=f'Plugin "{name}" of {namespace} (from '
            f'{plugin.distribution}): {text.foreign_message(error)}'
        ) from error
    except (cfg.Error, ValueError) as error:
        raise exceptions.ConfigurationError(
            reason=f'Invalid option of plugin "{name}" of {namespace} (from '
            f'{plugin.distribution}): {text.foreign_message(error)}.'
        ) from error
    except (time_limit.TimeLimitExceeded, time_limit.ExitedError) as error:
        raise invalid(plugin, f'from_conf: {error}') from error
    except Exception as error:
        raise invalid(
            plugin, f'from_conf raised {text.foreign_error(error)}'
        ) from error
    if not isinstance(made, _CONTRACTS[namespace][1]):
        raise invalid(plugin, f'from_conf returned {text.foreign_value(made)}')
    return plugin, made


def installed(conf: types.Conf | None = None) -> list[Installed]:
    """Return the installed plugins of all namespaces.

    Each plugin is imported and checked. Objects are made only of those that
    a configuration names, to check their options.

    :param conf: the configuration of the process; None if no options are
        checked.
    :returns: sorted by namespace, name and package.
    """
    return [
        _described(each, conf)
        for namespace in sorted(_CONTRACTS)
        for each in _find(namespace)
    ]


def _described(
    plugin: entry_points.Plugin, conf: types.Conf | None
) -> Installed:
    error, misconfigured = error_of(plugin, _checked), False
    if (
        error is None
        and conf is not None
        and plugin.name in _named(plugin.namespace, conf)
    ):
        try:
            _, made = _make(plugin.namespace, plugin.name, conf)
            _close(made)
        except exceptions.ConfigurationError as refused:
            error, misconfigured = str(refused), True
        except exceptions.PluginError as refused:
            error = str(refused)
    return Installed(
        plugin.namespace,
        plugin.name,
        plugin.value,
        plugin.package,
        plugin.version,
        error,
        bool(plugin.conflict),
        misconfigured,
    )


def _close(made: Any) -> None:
    """Close a driver or listener that is not used; errors are logged."""
    try:
        close = getattr(made, 'close', None)
        if close is not None:
            time_limit.BoundedCall(close, name='plugin-close').result()
    except Exception as error:
        LOG.warning(
            'Could not close %(plugin)s: %(error)s',
            {
                'plugin': text.printable(type(made).__qualname__),
                'error': text.foreign_error(error),
            },
        )


def _named(namespace: str, conf: types.Conf) -> Sequence[str]:
    """Return the plugins of a namespace that a configuration names."""
    options = conf.pvm_imagecache
    names: dict[str, Sequence[str]] = {
        DRIVERS: [options.disk_driver],
        EVICTION: options.eviction_policies,
        LISTENERS: options.listeners,
    }
    return names[namespace]


def error_of(
    plugin: entry_points.Plugin,
    load: Callable[[entry_points.Plugin], object],
) -> str | None:
    """Return why a plugin cannot be used.

    :param plugin: the plugin.
    :param load: loads and checks it.
    :returns: the message of the error; None if it can be used.
    """
    try:
        load(plugin)
    except exceptions.PluginError as error:
        return str(error)
    return None


def invalid(
    plugin: entry_points.Plugin, reason: str
) -> exceptions.PluginInvalid:
    """Return the error of a plugin that cannot be used.

    :param plugin: the plugin.
    :param reason: why it cannot be used.
    :returns: the error, which names the plugin and its distribution.
    """
    return exceptions.PluginInvalid(
        name=plugin.name,
        namespace=plugin.namespace,
        distribution=plugin.distribution,
        reason=reason,
    )


def _find(namespace: str) -> list[entry_points.Plugin]:
    return entry_points.find(namespace, _RESERVED.get(namespace, ()))


def _load(namespace: str, name: str) -> tuple[entry_points.Plugin, Any]:
    """Return the plugin of a name, and its class, checked."""
    found = _find(namespace)
    named = [each for each in found if each.name == name]
    if not named:
        raise exceptions.PluginNotFound(
            name=name,
            namespace=namespace,
            known=', '.join(sorted({each.name for each in found})) or 'none',
        )
    for each in named:
        if each.conflict:
            _WARNINGS.log(str(invalid(each, f'{each.conflict}.')))
    # At most one has no conflict.
    plugin = min(named, key=lambda each: bool(each.conflict))
    return plugin, _checked(plugin)


def _checked(plugin: entry_points.Plugin) -> Any:
    """Import and check the class of a plugin."""
    if plugin.conflict:
        raise invalid(plugin, f'{plugin.conflict}.')
    try:
        loaded = plugin.load()
    except entry_points.ImportFailed as error:
        raise invalid(plugin, str(error)) from error.__cause__
    contract, kind = _CONTRACTS[plugin.namespace]
    version = contract.API_VERSION
    try:
        reasons = list(_faults(loaded, kind, version))
    except Exception as error:
        # Of a descriptor or a metaclass.
        raise invalid(
            plugin, f'its class raised {text.foreign_error(error)}'
        ) from error
    if reasons:
        raise invalid(plugin, '; '.join(reasons))
    warn_of_version(plugin, loaded.api_version, version)
    return loaded


def warn_of_version(
    plugin: entry_points.Plugin, written_for: int, version: int
) -> None:
    """Warn once of a plugin that was written for an older contract.

    :param plugin: the plugin.
    :param written_for: version of the contract that it states.
    :param version: version of the contract in this release.
    """
    if written_for < version:
        _WARNINGS.log(
            f'Plugin "{plugin.name}" of {plugin.namespace} (from '
            f'{plugin.distribution}) is deprecated: it follows version '
            f'{written_for} of the contract. This release has version '
            f'{version}, and the next version of the contract will not '
            f'accept version {written_for}. Upgrade {plugin.package}.'
        )


def _faults(plugin: Any, contract: type[Any], version: int) -> Iterator[str]:
    """Yield each violation of the contract."""
    if not _is_kind_of(plugin, contract):
        yield (
            f'it is not a subclass of {contract.__module__}.'
            f'{contract.__name__}'
        )
        return
    yield from version_faults(plugin.api_version, version)
    missing = sorted(getattr(plugin, '__abstractmethods__', ()))
    if missing:
        yield f'it lacks {", ".join(missing)}'
    capabilities = getattr(plugin, 'capabilities', ())
    if not isinstance(capabilities, frozenset | tuple) or not all(
        isinstance(each, driver_base.Capability) for each in capabilities
    ):
        yield 'its capabilities are not a frozenset of Capability'
        return
    if contract is driver_base.DiskDriver:
        yield from _length_faults(plugin.max_name_length)
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


def _length_faults(length: object) -> Iterator[str]:
    """Yield an error if base images cannot have their names."""
    if type(length) is not int or length < naming.MAX_DISK_NAME:
        yield (
            f'max_name_length is {length!r}: names of base images have '
            f'{naming.MAX_DISK_NAME} characters'
        )


def version_faults(written_for: object, version: int) -> Iterator[str]:
    """Yield why a version of a contract is not accepted.

    :param written_for: ``api_version`` of the plugin.
    :param version: version of the contract in this release.
    :yields: the reason, if it is not accepted.
    """
    # Version 0 is that of a plugin that states none.
    accepted = [each for each in (version, version - 1) if each > 0]
    if type(written_for) is not int or written_for not in accepted:
        numbers = ' and '.join(map(str, sorted(accepted)))
        found = (
            f'it follows version {written_for} of the contract'
            if type(written_for) is int and written_for > 0
            else 'it does not declare a contract version'
        )
        yield (
            f'{found} (api_version is {written_for!r:.40}); this release '
            f'accepts version {numbers}'
        )


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
