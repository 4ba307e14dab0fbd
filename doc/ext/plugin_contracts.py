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

"""Sphinx directives that describe the contracts of plugins from the code.

``.. capability-methods::`` lists the methods of a disk driver, and which
capability needs each. ``.. error-arguments::`` lists errors of
:mod:`pvm_imagecache.exceptions`, named in its content, with their arguments.
"""

from collections.abc import Iterator
import inspect
import re
from typing import Any

from docutils import nodes
from docutils import statemachine
from sphinx.util import docutils

from pvm_imagecache import exceptions
from pvm_imagecache import plugins
from pvm_imagecache.drivers import base

_FIELD = re.compile(r':ivar (\w+): (.*?)(?=\n\s*:|\Z)', re.DOTALL)


class _Table(docutils.SphinxDirective):
    """A directive whose content is made of lines of reStructuredText."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        lines = statemachine.StringList(list(self.lines()), self.name)
        section = nodes.section()
        section.document = self.state.document
        self.state.nested_parse(lines, 0, section)
        return list(section.children)

    def lines(self) -> Iterator[str]:
        raise NotImplementedError


class CapabilityMethods(_Table):
    """Which methods a driver needs, by capability."""

    def lines(self) -> Iterator[str]:
        yield from _header('35 25 40', 'Method', 'Needed by', 'What it does')
        needed: dict[str, list[str]] = {}
        for capability, methods in plugins._METHODS_OF.items():
            for method in methods:
                needed.setdefault(method, []).append(capability.name)
        for name, method in vars(base.DiskDriver).items():
            if name.startswith('_') or not callable(
                getattr(base.DiskDriver, name)
            ):
                continue
            if name in base.DiskDriver.__abstractmethods__:
                by = 'all drivers'
            else:
                by = ', '.join(f'``{each}``' for each in needed.get(name, ()))
            yield f'   * - :meth:`~{base.__name__}.DiskDriver.{name}`'
            yield f'     - {by or "optional"}'
            yield f'     - {_first_line(method)}'
        yield ''


class ErrorArguments(_Table):
    """The arguments of errors, and when they are raised."""

    def lines(self) -> Iterator[str]:
        yield from _header(
            '25 45 30', 'Error', 'Arguments', 'When to raise it'
        )
        for name in self.content:
            error = getattr(exceptions, name.strip())
            yield (f'   * - :exc:`~{exceptions.__name__}.{error.__name__}`')
            fields = list(_arguments(error))
            yield '     - ' + (fields[0] if fields else 'none')
            for each in fields[1:]:
                yield '       '
                yield f'       {each}'
            yield f'     - {_first_line(error)}'
        yield ''


def _arguments(error: Any) -> Iterator[str]:
    """Yield the arguments: those of the message, and those with defaults."""
    described: dict[str, str] = {}
    for each in reversed(error.__mro__):
        if each is exceptions.PVMImageCacheError and error is not each:
            # What all errors have.
            described['reason'] = 'what failed'
            continue
        described |= {
            name: ' '.join(text.split())
            for name, text in _FIELD.findall(inspect.getdoc(each) or '')
        }
    in_message = re.findall(r'%\((\w+)\)', error.msg_fmt)
    for name in dict.fromkeys(in_message):
        optional = ' (optional)' if name in error.defaults else ''
        yield f'``{name}``{optional}: {described.get(name, "")}'.rstrip(': ')
    for name, text in described.items():
        if name not in in_message and hasattr(error, name):
            yield f'``{name}`` (optional): {text}'


def _header(widths: str, *titles: str) -> Iterator[str]:
    yield '.. list-table::'
    yield '   :header-rows: 1'
    yield f'   :widths: {widths}'
    yield ''
    yield f'   * - {titles[0]}'
    for each in titles[1:]:
        yield f'     - {each}'


def _first_line(described: Any) -> str:
    found = described
    if isinstance(found, classmethod | staticmethod):
        found = found.__func__
    return (inspect.getdoc(found) or '').partition('\n')[0]


def setup(app: Any) -> dict[str, Any]:
    app.add_directive('capability-methods', CapabilityMethods)
    app.add_directive('error-arguments', ErrorArguments)
    return {'parallel_read_safe': True}
