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

"""Count what the rules of HACKING.rst ask for, and fail above a limit.

The package is read, not imported; its tests and the simulator are left out
but for the counts of tests. The rules:

Any
    A parameter counts if its annotation is ``Any``, a union with it, or
    missing. ``UNTYPED`` lists modules that handle objects of libraries
    without types; they are left out.

docstring
    Every public module, class, function and method of a contract module has
    a docstring. ``__init__.py``, special methods and what is defined
    in a function are left out, and what is decorated with ``override`` or
    ``overload``. For other modules the number is reported only.

fields
    The docstring of a public function of a contract module has ``:param x:``
    for each public parameter, ``:returns:`` or ``:yields:`` if it returns
    something other than None, and ``:raises X:`` for each error that its
    body raises itself and does not catch. The first line of a property says
    what it returns; so does that of a function without public parameters if
    it begins with one of ``RETURN_WORDS``. ``__init__`` may be described by
    the docstring of its class. In all docstrings of contract modules a
    field has a text, describes a parameter that exists, and names one error.

mirror
    Each module with logic, ``a/b.py``, has a ``tests/unit/a/test_b.py``; one
    of ``virt`` may have a ``tests/nova/test_b.py`` instead. Logic is a
    function that has more of a body than a docstring, ``pass``, ``...`` or
    ``raise NotImplementedError``.

names of tests
    Few tests have names of one or two words.
"""

import argparse
import ast
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import pathlib
import re
import sys
from typing import Final

ROOT: Final = pathlib.Path(__file__).resolve().parent.parent
PACKAGE: Final = 'pvm_imagecache'

#: What plugins, nova and the commands build on; pyproject.toml has the same
#: list for ruff. A name with a slash at its end is a package.
CONTRACT: Final = (
    'cache.py',
    'catalog/',
    'cleanup/',
    'conformance/',
    'deploy/',
    'drivers/base.py',
    'events.py',
    'eviction/base.py',
    'exceptions.py',
    'fixtures.py',
    'glance/',
    'manager.py',
    'results.py',
)
#: Modules whose parameters may be Any, and why.
UNTYPED: Final = {
    'drivers/powervm.py': 'wrappers and adapters of pypowervm',
    'drivers/localdisk/': 'wrappers of pypowervm',
    'drivers/ssp/': 'wrappers of pypowervm',
    'virt/': 'objects of nova, and wrappers of pypowervm',
}
#: Modules that need no mirrored test module, and why.
UNMIRRORED: Final = {
    'conf/__init__.py': 'options only: tests/unit/test_conf.py',
    'conf/access.py': 'options only: tests/unit/test_conf.py',
    'conf/compute.py': 'options only: tests/unit/test_conf.py',
    'conf/glance.py': 'options only: tests/unit/test_conf.py',
    'conf/nova.py': 'options only: tests/unit/test_conf.py',
    'conf/opts.py': 'options only: tests/unit/test_conf.py',
}
MAX_ANY: Final = 5.0
MAX_SHORT_NAMES: Final = 3.0
MAX_TOP_LEVEL: Final = 14
RETURN_WORDS: Final = ('A', 'All', 'An', 'Return', 'The', 'Whether', 'Yield')

_FIELD = re.compile(r':(\w+)\b\s*([^:]*):\s*(.*)')
_PROPERTIES = {'property', 'cached_property', 'abstractproperty'}
_LEFT_OUT = {'overload', 'override', 'setter', 'deleter'}
_NOTHING = {
    'None',
    'NoReturn',
    'Never',
    'Iterator[None]',
    'Generator[None]',
    'Generator[None, None, None]',
    'AsyncIterator[None]',
}

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Documented = ast.Module | ast.ClassDef | _Function


@dataclasses.dataclass(frozen=True)
class Violation:
    """A place that breaks a rule.

    :ivar path: of the module, below the package.
    """

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f'{PACKAGE}/{self.path}:{self.line}: {self.text}'


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    :ivar value: as it is shown.
    :ivar limit: as it is shown; empty if there is none.
    :ivar exceeded: whether the limit is.
    :ivar violations: the places that were counted, if they are of interest.
    """

    name: str
    value: str
    limit: str = ''
    exceeded: bool = False
    violations: Sequence[Violation] = ()


@dataclasses.dataclass(frozen=True)
class Public:
    """A public object of a module.

    :ivar name: with the classes that it is in.
    :ivar owner: the class that it is directly in.
    """

    name: str
    node: _Documented
    owner: ast.ClassDef | None = None


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a docstring, such as ``:param size: in bytes``."""

    kind: str
    subject: str
    text: str


class Module:
    """A module of the package.

    :param path: below the package.
    """

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.tree = ast.parse(source, path)

    def functions(self) -> Iterator[_Function]:
        """All functions, wherever they are."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def methods(self) -> set[_Function]:
        """The functions whose first parameter is the object or class."""
        return {
            each
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ClassDef)
            for each in node.body
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            and 'staticmethod' not in _decorators(each)
        }

    def public(self) -> Iterator[Public]:
        """The objects that a docstring is asked of."""
        if not _is_private(pathlib.PurePath(self.path).stem):
            yield Public('the module', self.tree)
        yield from _public(self.tree.body, '', None)

    def documented(self) -> Iterator[_Documented]:
        """All that may have a docstring, private or not."""
        for node in ast.walk(self.tree):
            if isinstance(node, _Documented):
                yield node

    def violation(self, node: ast.AST, text: str) -> Violation:
        """Something is wrong with the node."""
        return Violation(self.path, getattr(node, 'lineno', 1), text)


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and what exceeds a limit; return the exit code."""
    parser = argparse.ArgumentParser(
        description='Count what the rules of HACKING.rst ask for.'
    )
    parser.add_argument('--root', type=pathlib.Path, default=ROOT)
    parser.add_argument(
        '--verbose',
        action='store_true',
        help='list also what exceeds no limit',
    )
    options = parser.parse_args(arguments)
    rows = measure(options.root)
    width = max(len(row.name) for row in rows)
    for row in rows:
        mark = 'exceeded' if row.exceeded else ''
        print(
            f'{row.name:<{width}} {row.value:>16}  {row.limit:<6} '
            f'{mark}'.rstrip()
        )
    for row in rows:
        if row.violations and (row.exceeded or options.verbose):
            print(f'\n{row.name}:')
            for violation in row.violations:
                print(f'  {violation}')
    return int(any(row.exceeded for row in rows))


def measure(root: pathlib.Path) -> list[Row]:
    """Apply all rules.

    :param root: the checkout.
    :returns: the lines of the table.
    """
    package = root / PACKAGE
    modules = list(_modules(package))
    tests = list(_tests(package))
    return [
        _count_any(modules),
        *_count_undocumented(modules),
        _count_fields(modules),
        _count_unmirrored(package, modules),
        _count_short_names(tests),
        Row('tests', str(len(tests))),
        _count_top_level(package),
    ]


def _modules(package: pathlib.Path) -> Iterator[Module]:
    for path in sorted(package.rglob('*.py')):
        below = path.relative_to(package)
        if below.parts[0] not in ('tests', 'simulator'):
            yield Module(below.as_posix(), path.read_text())


def _tests(package: pathlib.Path) -> Iterator[Violation]:
    """The test functions, each as the place where it is."""
    for path in sorted((package / 'tests').rglob('*.py')):
        module = Module(path.relative_to(package).as_posix(), path.read_text())
        for function in module.functions():
            if function.name.startswith('test_'):
                yield module.violation(function, function.name)


# -- Any --------------------------------------------------------------------


def _count_any(modules: Sequence[Module]) -> Row:
    violations = []
    total = 0
    for module in modules:
        if _is_in(module.path, UNTYPED):
            continue
        methods = module.methods()
        for function in module.functions():
            for parameter in _parameters(function, function in methods):
                total += 1
                if _is_any(parameter.annotation):
                    violations.append(
                        module.violation(
                            parameter, f'{function.name}: {parameter.arg}'
                        )
                    )
    share = 100 * len(violations) / total if total else 0.0
    return Row(
        'parameters that are Any',
        f'{len(violations)} of {total}, {share:.1f} %',
        f'{MAX_ANY:.0f} %',
        share > MAX_ANY,
        violations,
    )


def _is_any(annotation: ast.expr | None) -> bool:
    match annotation:
        case None | ast.Name(id='Any') | ast.Attribute(attr='Any'):
            return True
        case ast.BinOp(op=ast.BitOr()):
            return _is_any(annotation.left) or _is_any(annotation.right)
        case ast.Constant(value=str(text)):
            return _is_any(ast.parse(text, mode='eval').body)
        case ast.Subscript(value=ast.Name(id='Optional')):
            return _is_any(annotation.slice)
    return False


def _parameters(function: _Function, is_method: bool) -> list[ast.arg]:
    """The parameters, without that for the object or class."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if is_method:
        positional = positional[1:]
    return [
        each
        for each in (
            *positional,
            arguments.vararg,
            *arguments.kwonlyargs,
            arguments.kwarg,
        )
        if each is not None
    ]


# -- docstrings -------------------------------------------------------------


def _count_undocumented(modules: Sequence[Module]) -> Iterator[Row]:
    total = 0
    everywhere = []
    in_contract = []
    for module in modules:
        for public in module.public():
            total += 1
            if not ast.get_docstring(public.node):
                found = module.violation(public.node, public.name)
                everywhere.append(found)
                if _is_in(module.path, CONTRACT):
                    in_contract.append(found)
    yield Row(
        'public objects without docstring',
        f'{len(everywhere)} of {total}',
        violations=everywhere,
    )
    yield Row(
        '  of them in contract modules',
        str(len(in_contract)),
        '0',
        bool(in_contract),
        in_contract,
    )


def _count_fields(modules: Sequence[Module]) -> Row:
    violations = []
    for module in modules:
        if _is_in(module.path, CONTRACT):
            methods = module.methods()
            for public in module.public():
                for node, text in _missing_fields(public, methods):
                    violations.append(
                        module.violation(node, f'{public.name}: {text}')
                    )
            for node in module.documented():
                for text in _wrong_fields(node, methods):
                    violations.append(module.violation(node, text))
    return Row(
        'faulty or missing fields of docstrings',
        str(len(violations)),
        '0',
        bool(violations),
        sorted(violations, key=lambda each: (each.path, each.line)),
    )


def _missing_fields(
    public: Public, methods: set[_Function]
) -> Iterator[tuple[ast.AST, str]]:
    node = public.node
    if isinstance(node, ast.ClassDef):
        for each in node.body:
            if isinstance(each, ast.FunctionDef) and each.name == '__init__':
                described = _described(node) | _described(each)
                for name in _undescribed(each, True, described):
                    yield each, f':param {name}: is missing'
    elif isinstance(node, _Function) and ast.get_docstring(node):
        is_method = node in methods
        fields = _fields(node)
        for name in _undescribed(node, is_method, _described(node)):
            yield node, f':param {name}: is missing'
        kinds = {each.kind for each in fields}
        if not kinds & {'returns', 'return', 'yields'} and _returns(
            node, is_method
        ):
            yield node, ':returns: is missing'
        described = {
            each.rpartition('.')[2]
            for field in fields
            if field.kind == 'raises'
            for each in re.split(r'[,\s]+', field.subject)
        }
        for name in sorted(set(_raised(node.body, frozenset())) - described):
            yield node, f':raises {name}: is missing'


def _described(node: _Documented) -> set[str]:
    """The parameters with a field."""
    return {
        each.subject.rpartition(' ')[2].lstrip('*\\')
        for each in _fields(node)
        if each.kind == 'param'
    }


def _undescribed(
    function: _Function, is_method: bool, described: set[str]
) -> list[str]:
    return [
        each.arg
        for each in _parameters(function, is_method)
        if not _is_private(each.arg) and each.arg not in described
    ]


def _returns(function: _Function, is_method: bool) -> bool:
    """Whether there must be a field for what is returned."""
    if _decorators(function) & _PROPERTIES:
        return False
    if function.returns is not None:
        returned = ast.unparse(function.returns).strip('\'"')
        if re.sub(r'\w+\.', '', returned) in _NOTHING:
            return False
    elif not any(
        isinstance(each, ast.Return) and each.value is not None
        for each in _own(function.body)
    ):
        return False
    public = [
        each
        for each in _parameters(function, is_method)
        if not _is_private(each.arg)
    ]
    first_word = (ast.get_docstring(function) or '').split(maxsplit=1)[:1]
    return bool(public) or not set(first_word) & set(RETURN_WORDS)


def _raised(body: Sequence[ast.stmt], caught: frozenset[str]) -> Iterator[str]:
    """The errors that statements raise themselves, and do not catch."""
    for node in body:
        if isinstance(node, ast.Raise):
            name = _error_name(node.exc)
            if name and name not in caught:
                yield name
        elif isinstance(node, ast.Try | ast.TryStar):
            handled = {
                name
                for handler in node.handlers
                for name in _handled(handler.type)
            }
            yield from _raised(node.body, caught | handled)
            yield from _raised([*node.orelse, *node.finalbody], caught)
            for handler in node.handlers:
                yield from _raised(handler.body, caught)
        elif not isinstance(node, _Function | ast.ClassDef):
            for field in ('body', 'orelse'):
                yield from _raised(getattr(node, field, []), caught)
            for case in getattr(node, 'cases', []):
                yield from _raised(case.body, caught)


def _handled(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Tuple):
        for each in node.elts:
            yield from _handled(each)
    elif isinstance(node, ast.Name | ast.Attribute):
        yield ast.unparse(node).rpartition('.')[2]


def _error_name(node: ast.expr | None) -> str | None:
    """The class of an error; None if it is not told where it is raised."""
    if isinstance(node, ast.Call):
        node = node.func
    if not isinstance(node, ast.Name | ast.Attribute):
        return None
    name = ast.unparse(node).rpartition('.')[2]
    # Variables and functions begin with a lower case letter.
    if not name[0].isupper() or name == 'NotImplementedError':
        return None
    return name


def _wrong_fields(node: _Documented, methods: set[_Function]) -> Iterator[str]:
    name = getattr(node, 'name', 'the module')
    for field in _fields(node):
        shown = f':{" ".join(filter(None, (field.kind, field.subject)))}:'
        if not field.text:
            yield f'{name}: {shown} has no text'
        if field.kind == 'raises' and len(field.subject.split()) != 1:
            yield f'{name}: {shown} must name one error'
        if field.kind == 'param' and isinstance(node, _Function):
            known = {each.arg for each in _parameters(node, node in methods)}
            subject = field.subject.rpartition(' ')[2].lstrip('*\\')
            if subject not in known:
                yield f'{name}: {shown} is no parameter'


def _fields(node: _Documented) -> list[Field]:
    """The fields of a docstring, with their whole texts."""
    fields: list[Field] = []
    for line in (ast.get_docstring(node) or '').splitlines():
        match = _FIELD.match(line)
        if match:
            fields.append(Field(match[1], match[2].strip(), match[3].strip()))
        elif fields and line.startswith(' '):
            last = fields.pop()
            text = f'{last.text} {line.strip()}'.strip()
            fields.append(dataclasses.replace(last, text=text))
    return fields


def _public(
    body: Sequence[ast.stmt], prefix: str, owner: ast.ClassDef | None
) -> Iterator[Public]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _public(node.body, prefix, owner)
            yield from _public(node.orelse, prefix, owner)
        elif (
            isinstance(node, ast.ClassDef | _Function)
            and not _is_private(node.name)
            and not _decorators(node) & _LEFT_OUT
        ):
            yield Public(prefix + node.name, node, owner)
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body, f'{prefix}{node.name}.', node)


# -- tests ------------------------------------------------------------------


def _count_unmirrored(package: pathlib.Path, modules: Sequence[Module]) -> Row:
    violations = [
        module.violation(module.tree, f'{_mirrors(module.path)[0]} is missing')
        for module in modules
        if _has_logic(module)
        and not _is_in(module.path, UNMIRRORED)
        and not any(
            (package / each).exists() for each in _mirrors(module.path)
        )
    ]
    return Row(
        'modules without a mirrored test module',
        str(len(violations)),
        '0',
        bool(violations),
        violations,
    )


def _mirrors(path: str) -> list[str]:
    """Where the unit tests of a module may be, the best place first."""
    module = pathlib.PurePosixPath(path)
    if module.name == '__init__.py':
        # The tests of a package are among those of its modules.
        module = module.with_name(f'{module.parent.name}.py')
    test = f'test_{module.name}'
    mirrors = [(f'tests/unit/{module.parent}/{test}').replace('/./', '/')]
    if module.parts[0] == 'virt':
        mirrors.append(f'tests/nova/{test}')
    return mirrors


def _has_logic(module: Module) -> bool:
    return any(
        not _is_empty(statement)
        for function in module.functions()
        for statement in function.body
    )


def _is_empty(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Raise():
            return 'NotImplementedError' in ast.unparse(statement)
    return False


def _count_short_names(tests: Sequence[Violation]) -> Row:
    short = [each for each in tests if each.text.count('_') < 3]
    share = 100 * len(short) / len(tests) if tests else 0.0
    return Row(
        'tests with a name of one or two words',
        f'{len(short)} of {len(tests)}, {share:.1f} %',
        f'{MAX_SHORT_NAMES:.0f} %',
        share >= MAX_SHORT_NAMES,
        short,
    )


def _count_top_level(package: pathlib.Path) -> Row:
    number = sum(path.name != '__init__.py' for path in package.glob('*.py'))
    return Row(
        'modules at the top level',
        str(number),
        str(MAX_TOP_LEVEL),
        number > MAX_TOP_LEVEL,
    )


# -- all rules --------------------------------------------------------------


def _is_in(path: str, places: Sequence[str] | dict[str, str]) -> bool:
    return any(
        path.startswith(place) if place.endswith('/') else path == place
        for place in places
    )


def _is_private(name: str) -> bool:
    return name.startswith('_')


def _decorators(node: ast.ClassDef | _Function) -> set[str]:
    """The names of the decorators, without their modules."""
    return {
        ast.unparse(
            each.func if isinstance(each, ast.Call) else each
        ).rpartition('.')[2]
        for each in node.decorator_list
    }


def _own(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """All nodes of a function but those of what is defined in it."""
    for node in nodes:
        if not isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            yield node
            yield from _own(list(ast.iter_child_nodes(node)))


if __name__ == '__main__':
    sys.exit(main())
