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

"""The checks of a command of another package when it is loaded.

A command is a class that is derived from those of cliff, or from those of
:mod:`pvm_imagecache.cmd.base`. An object and its parser are created, so
that help and completion cannot fail because of it later.
"""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
import inspect
from typing import Any

from cliff import command as cliff_command

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.cmd import base
from pvm_imagecache.policies import rules
from pvm_imagecache.system import entry_points


def load(
    plugin: entry_points.Plugin,
    make: Callable[[Any], cliff_command.Command] | None = None,
) -> type[cliff_command.Command]:
    """Import and check a command.

    :param plugin: its entry point.
    :param make: makes an object of the class, as for a run; None to check
        only the class.
    :returns: the class.
    :raises PluginInvalid: if the command cannot be used; the error names it,
        its package and the cause.
    """
    # Not needed by the commands of this project.
    from pvm_imagecache import plugins

    if plugin.conflict:
        raise plugins.invalid(plugin, f'{plugin.conflict}.')
    try:
        loaded = plugin.load()
    except entry_points.ImportFailed as error:
        raise plugins.invalid(plugin, str(error)) from error.__cause__
    try:
        reasons = list(_faults(loaded)) or list(
            _faults_of_object(loaded, plugin.name, make)
        )
    except (Exception, SystemExit) as error:
        # Of an attribute of the class, which can be anything.
        reasons = [f'checking it raised {text.foreign_error(error)}']
    if reasons:
        raise plugins.invalid(plugin, '; '.join(reasons))
    if issubclass(loaded, base.Authorized):
        plugins.warn_of_version(plugin, loaded.api_version, base.API_VERSION)
    command: type[cliff_command.Command] = loaded
    return command


def failed(
    plugin: entry_points.Plugin, error: BaseException
) -> exceptions.PluginFailed:
    """Return the error of a command that raised an unexpected error.

    :param plugin: its entry point.
    :param error: what it raised.
    :returns: the error, which names the command and its package.
    """
    return exceptions.PluginFailed(
        name=plugin.name,
        namespace=plugin.namespace,
        distribution=plugin.distribution,
        reason=text.foreign_error(error),
    )


def _faults(loaded: Any) -> Iterator[str]:
    """Yield each violation of the contract by the class."""
    if not inspect.isclass(loaded) or not issubclass(
        loaded, cliff_command.Command
    ):
        yield (
            'it is not a subclass of Command, Lister or ShowOne of '
            'pvm_imagecache.cmd.base, nor of cliff.command.Command'
        )
        return
    missing = sorted(getattr(loaded, '__abstractmethods__', ()))
    if loaded.take_action is cliff_command.Command.take_action:
        missing = ['take_action']
    if missing:
        yield f'it lacks {", ".join(missing)}'
    for method, arguments in (
        ('take_action', ('self', 'parsed_args')),
        ('get_parser', ('self', 'prog_name')),
        ('__init__', ('self', 'app', 'app_args')),
    ):
        yield from _signature_faults(loaded, method, arguments)
    if issubclass(loaded, base.Authorized):
        yield from _faults_of_access(loaded)
        yield from _faults_of_output(loaded)


def _signature_faults(
    loaded: type, method: str, arguments: tuple[str, ...]
) -> Iterator[str]:
    try:
        inspect.signature(getattr(loaded, method)).bind(*arguments)
    except TypeError as error:
        yield f'{method} must accept ({", ".join(arguments)}): {error}'
    except ValueError:
        # A function in C has no signature.
        return


def _faults_of_access(loaded: Any) -> Iterator[str]:
    """Yield what would make the access policy fail or be bypassed."""
    from pvm_imagecache import plugins

    yield from plugins.version_faults(loaded.api_version, base.API_VERSION)
    for name in ('rule', 'dry_run_rule'):
        rule = getattr(loaded, name)
        if name == 'dry_run_rule' and rule is None:
            continue
        if found := rules.fault(rule):
            yield f'{name}: {found}'
    more = loaded.more_rules
    if not isinstance(more, list | tuple):
        yield 'more_rules is not a list of rules'
    else:
        yield from (
            f'more_rules: {found}' for found in map(rules.fault, more) if found
        )
    if inspect.unwrap(loaded.run).__module__ != base.__name__:
        yield (
            'its run() is not that of pvm_imagecache.cmd.base, which enforces '
            'the access policy: define take_action() instead, and name the '
            'class of pvm_imagecache.cmd.base first'
        )


def _faults_of_output(loaded: Any) -> Iterator[str]:
    """Yield what would make the help or the output fail."""
    columns = getattr(loaded, 'columns', ())
    if not isinstance(columns, list | tuple) or not all(
        isinstance(each, str) for each in columns
    ):
        yield 'columns is not a sequence of names'
    try:
        ok = all(
            isinstance(line, str) and isinstance(what, str)
            for line, what in loaded.examples
        )
    except (TypeError, ValueError):
        ok = False
    if not ok:
        yield 'examples are not pairs of a command line and a description'


def _faults_of_object(
    loaded: Any,
    name: str,
    make: Callable[[Any], cliff_command.Command] | None,
) -> Iterator[str]:
    """Yield why an object of the class, or its parser, cannot be made."""
    if make is None:
        return
    what = 'making it'
    try:
        made = make(loaded)
        what = 'get_parser'
        parser = made.get_parser(name)
        if not isinstance(parser, argparse.ArgumentParser):
            yield f'get_parser returned {type(parser).__name__}'
            return
        what = 'its help'
        parser.format_help()
    except (Exception, SystemExit) as error:
        yield f'{what} raised {text.foreign_error(error)}'
