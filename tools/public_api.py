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

"""Record the public API, or show what changed since it was recorded.

What plugins, scripts and monitoring rely on is recorded in
``tools/public_api.txt``: modules, classes, methods and their parameters, entry
points, options, columns and keys of commands, rules and metrics. A test
compares it with the code. ``--write`` records it again: read the page
"Stability" of the manual first.

Python is read, not imported, so that the record does not depend on the
versions of libraries.
"""

import argparse
import ast
from collections.abc import Iterator
from collections.abc import Sequence
import difflib
import pathlib
import sys
import tomllib
from typing import Final

ROOT: Final = pathlib.Path(__file__).resolve().parent.parent
RECORD: Final = ROOT / 'tools' / 'public_api.txt'
#: Modules whose public names are stable.
MODULES: Final = (
    'catalog/models.py',
    'catalog/reader.py',
    'cmd/base.py',
    'conf/registration.py',
    'conf/types.py',
    'conformance/command.py',
    'conformance/configuration.py',
    'conformance/driver.py',
    'conformance/images.py',
    'conformance/listener.py',
    'conformance/policy.py',
    'conformance/pool_cache.py',
    'conformance/views.py',
    'drivers/base.py',
    'events.py',
    'eviction/base.py',
    'exceptions.py',
    'fixtures.py',
    'glance/source.py',
    'image.py',
    'manager.py',
    'naming.py',
    'policies/rules.py',
    'results.py',
    'system/locks.py',
    'system/private_files.py',
)
#: Tests of the suites come and go; what authors override does not.
_NO_TESTS: Final = 'test_'

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines() -> list[str]:
    """Return the public API, a line for each name.

    :returns: the lines, sorted within each section.
    """
    return [
        *_section('entry points', _entry_points()),
        *_section('options', _options()),
        *_section('rules', _rules()),
        *_section('columns and keys', _columns()),
        *_section('metrics', _metrics()),
        *(
            line
            for path in MODULES
            for line in _section(
                'pvm_imagecache.' + path[:-3].replace('/', '.'),
                _names(ast.parse(_source(path))),
            )
        ),
    ]


def difference() -> list[str]:
    """Return what changed since the API was recorded.

    :returns: the lines of a difference; empty if nothing changed.
    """
    recorded = RECORD.read_text(encoding='utf-8').splitlines()
    return [
        each
        for each in difflib.unified_diff(
            recorded, lines(), 'recorded', 'now', lineterm='', n=0
        )
        if not each.startswith('@@')
    ]


def _section(name: str, found: Iterator[str]) -> Iterator[str]:
    yield f'== {name}'
    yield from sorted(set(found))


def _source(path: str) -> str:
    return (ROOT / 'pvm_imagecache' / path).read_text(encoding='utf-8')


def _is_public(name: str) -> bool:
    return not name.startswith('_') and not name.startswith(_NO_TESTS)


# -- Python


def _names(module: ast.Module) -> Iterator[str]:
    """Yield the public names of a module."""
    for node in module.body:
        if isinstance(node, ast.ClassDef) and _is_public(node.name):
            bases = ', '.join(map(ast.unparse, node.bases))
            yield f'class {node.name}({bases})'
            yield from _members(node)
        elif isinstance(node, _Function) and _is_public(node.name):
            yield f'def {node.name}({_parameters(node.args)})'
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield from _assigned(node, '')
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith(
            ('pvm_imagecache.conformance', 'pvm_imagecache.plugins')
        ):
            yield from (f'name {each.name}' for each in node.names)


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Yield the public members of a class."""
    for each in node.body:
        if isinstance(each, _Function) and (
            _is_public(each.name) or each.name == '__init__'
        ):
            kinds = ' '.join(
                f'@{ast.unparse(found).split("(")[0]}'
                for found in each.decorator_list
            )
            yield (
                f'  {node.name}.{each.name}({_parameters(each.args)}) {kinds}'
            ).rstrip()
        elif isinstance(each, ast.Assign | ast.AnnAssign):
            yield from _assigned(each, f'  {node.name}.')


def _assigned(node: ast.Assign | ast.AnnAssign, prefix: str) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for each in targets:
        if isinstance(each, ast.Name) and _is_public(each.id):
            yield f'{prefix}{each.id}'


def _parameters(given: ast.arguments) -> str:
    """Return names, kinds and whether there is a default; no annotations."""
    positional = [*given.posonlyargs, *given.args]
    required = len(positional) - len(given.defaults)
    shown = [
        each.arg + ('' if index < required else '=')
        for index, each in enumerate(positional)
    ]
    if given.vararg:
        shown.append(f'*{given.vararg.arg}')
    elif given.kwonlyargs:
        shown.append('*')
    shown += [
        each.arg + ('' if default is None else '=')
        for each, default in zip(
            given.kwonlyargs, given.kw_defaults, strict=True
        )
    ]
    if given.kwarg:
        shown.append(f'**{given.kwarg.arg}')
    return ', '.join(shown)


# -- the rest


def _entry_points() -> Iterator[str]:
    project = tomllib.loads(
        (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    )['project']
    for group, names in (
        ('console_scripts', project['scripts']),
        *project['entry-points'].items(),
    ):
        yield from (f'{group}: {name}' for name in names)


def _options() -> Iterator[str]:
    from pvm_imagecache.conf import opts

    for group, options in opts.list_opts():
        name = getattr(group, 'name', str(group))
        for each in options:
            if not name.startswith('pvm_imagecache'):
                # Those of libraries.
                continue
            mutable = ', mutable' if each.mutable else ''
            yield (
                f'[{name}] {each.name}: '
                f'{type(each).__name__}, {each.default!r}{mutable}'
            )


def _rules() -> Iterator[str]:
    from pvm_imagecache.policies import rules

    for each in rules.ALL:
        yield f'{each.name}: {each.persona.value}'


def _columns() -> Iterator[str]:
    from pvm_imagecache.tests import schemas

    for command in schemas.SCHEMAS:
        yield f'{command}: {", ".join(schemas.columns(command))}'


def _metrics() -> Iterator[str]:
    for node in ast.walk(ast.parse(_source('metrics.py'))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ('_gauge', '_counter', '_counters')
            and isinstance(node.args[0], ast.Constant)
        ):
            kind = 'gauge' if node.func.attr == '_gauge' else 'counter'
            yield f'pvm_imagecache_{node.args[0].value}: {kind}'


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what changed, or record the API.

    :param arguments: the arguments; None for those of the process.
    :returns: 1 if something changed and was not recorded.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--write', action='store_true', help=f'write {RECORD.name}'
    )
    if parser.parse_args(arguments).write:
        RECORD.write_text('\n'.join(lines()) + '\n', encoding='utf-8')
        return 0
    changed = difference()
    print('\n'.join(changed) or 'The public API is as recorded.')
    return bool(changed)


if __name__ == '__main__':
    sys.exit(main())
