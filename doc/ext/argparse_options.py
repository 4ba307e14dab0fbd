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

"""A Sphinx directive that lists the options of an ``argparse`` parser.

``.. argparse-options:: module:function`` calls a function that returns a
parser, and describes each of its options, so that the help text of an option
is its only description.
"""

import argparse
from collections.abc import Iterator
import importlib
from typing import Any

from docutils import nodes
from docutils import statemachine
from sphinx.util import docutils


class ArgparseOptions(docutils.SphinxDirective):
    """List all options of one parser, group by group."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, function = self.arguments[0].partition(':')
        parser = getattr(importlib.import_module(module), function)()
        lines = statemachine.StringList(
            list(_described(parser)), self.arguments[0]
        )
        section = nodes.section()
        section.document = self.state.document
        self.state.nested_parse(lines, 0, section)
        return list(section.children)


def _described(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f'.. program:: {parser.prog}'
    yield ''
    for group in parser._action_groups:
        if not group._group_actions:
            continue
        yield f'.. rubric:: {(group.title or "options").capitalize()}'
        yield ''
        if group.description:
            yield f'These {group.description}.'
            yield ''
        for action in group._group_actions:
            yield from _option(parser, action)


def _option(
    parser: argparse.ArgumentParser, action: argparse.Action
) -> Iterator[str]:
    names = [
        f'{name} {_value(action)}'.strip()
        for name in action.option_strings or [_value(action)]
    ]
    yield f'.. option:: {", ".join(names)}'
    yield ''
    text = (action.help or '') % {**vars(action), 'prog': parser.prog}
    yield f'   {text}'
    yield ''


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ''
    if action.choices:
        return '{' + ','.join(map(str, action.choices)) + '}'
    return str(action.metavar or action.dest.upper())


def setup(app: Any) -> dict[str, bool]:
    app.add_directive('argparse-options', ArgparseOptions)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
