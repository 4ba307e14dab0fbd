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

"""Each kind of violation is counted, and what is right is not."""

import contextlib
import io
import pathlib
import textwrap

from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.tools import scripts

code_metrics = scripts.load('code_metrics')

ANY = 'parameters that are Any'
DOCSTRINGS = '  of them in contract modules'
FIELDS = 'faulty or missing fields of docstrings'
MIRROR = 'modules without a mirrored test module'
NAMES = 'tests with a name of one or two words'
TOP_LEVEL = 'modules at the top level'


class MetricsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.path('checkout'))
        self.write('__init__.py', '')

    def write(self, path, code):
        file = self.root / code_metrics.PACKAGE / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(code))

    def row(self, name):
        (row,) = [
            each
            for each in code_metrics.measure(self.root)
            if each.name == name
        ]
        return row

    def violations(self, name):
        return [each.text for each in self.row(name).violations]

    def module_fields(self, code):
        """The faults of the docstrings of a contract module."""
        self.write('manager.py', code)
        return self.violations(FIELDS)

    def fields(self, signature, docstring, body='pass', decorator=''):
        """The faults of the docstring of a function."""
        lines = [
            decorator,
            f'def function({signature}:',
            '    """' + docstring.replace('\n', '\n    ') + '\n    """',
            *(f'    {line}' for line in body.splitlines()),
        ]
        return [
            text.removeprefix('function: ')
            for text in self.module_fields('\n'.join(lines) + '\n')
        ]


class AnyTest(MetricsTest):
    def test_each_spelling_of_any_is_counted(self):
        for annotation in ('Any', 'typing.Any', 'Any | None', "'Any'"):
            self.write('image.py', f'def f(a: {annotation}, b: int): pass')
            self.assertEqual(['f: a'], self.violations(ANY))

    def test_missing_annotation_is_counted(self):
        self.write('image.py', 'def f(a, *b, c=1, **d): pass')
        self.assertEqual(
            ['f: a', 'f: b', 'f: c', 'f: d'], self.violations(ANY)
        )

    def test_own_object_is_no_parameter(self):
        self.write(
            'image.py',
            """
            class C:
                def f(self, a: int) -> None: pass
                @classmethod
                def g(cls) -> None: pass
                @staticmethod
                def h(a) -> None: pass
            """,
        )
        self.assertEqual(['h: a'], self.violations(ANY))

    def test_share_decides_on_the_limit(self):
        names = ', '.join(f'a{number}: int' for number in range(19))
        self.write('image.py', f'def f({names}, b: Any): pass')
        row = self.row(ANY)
        self.assertFalse(row.exceeded)
        self.assertEqual('1 of 20, 5.0 %', row.value)
        self.write('text.py', 'def f(b: Any): pass')
        self.assertTrue(self.row(ANY).exceeded)

    def test_untyped_modules_are_left_out(self):
        for path in ('drivers/powervm.py', 'virt/a.py', 'drivers/ssp/b.py'):
            self.write(path, 'def f(a: Any): pass')
        self.assertEqual([], list(self.violations(ANY)))

    def test_tests_and_simulator_are_left_out(self):
        for path in ('tests/base.py', 'simulator/rest.py'):
            self.write(path, 'def f(a: Any): pass')
        self.assertEqual([], self.violations(ANY))


class DocstringTest(MetricsTest):
    CODE = """
        class C:
            def method(self) -> None: pass
            def _private(self) -> None: pass
            def __len__(self) -> int: return 0
        class _P:
            def method(self) -> None: pass
        def function() -> None:
            def inner() -> None: pass
    """

    def test_undocumented_objects_are_counted(self):
        self.write('deploy/a.py', self.CODE)
        self.assertEqual(
            ['the module', 'C', 'C.method', 'function'],
            self.violations(DOCSTRINGS),
        )
        self.assertTrue(self.row(DOCSTRINGS).exceeded)

    def test_other_modules_are_reported_only(self):
        self.write('cmd/a.py', self.CODE)
        self.assertEqual([], self.violations(DOCSTRINGS))
        row = self.row('public objects without docstring')
        self.assertEqual('4 of 4', row.value)
        self.assertFalse(row.exceeded)

    def test_each_contract_module_is_checked(self):
        for place in code_metrics.CONTRACT:
            path = f'{place}a.py' if place.endswith('/') else place
            self.write(path, self.CODE)
        self.assertEqual(
            4 * len(code_metrics.CONTRACT), len(self.violations(DOCSTRINGS))
        )

    def test_contract_modules_exist_and_ruff_knows_them(self):
        package = pathlib.Path(code_metrics.ROOT, code_metrics.PACKAGE)
        project = (code_metrics.ROOT / 'pyproject.toml').read_text()
        (listed,) = [
            line.partition('{')[2].partition('}')[0]
            for line in project.splitlines()
            if line.startswith('"!') and line.endswith('["D"]')
        ]
        self.assertEqual(
            sorted(code_metrics.CONTRACT),
            sorted(
                f'{each}.py'.replace('*.py', '') for each in listed.split(',')
            ),
        )
        for place in code_metrics.CONTRACT:
            self.assertTrue((package / place).exists(), place)


class FieldsTest(MetricsTest):
    def test_missing_parameter_is_noticed(self):
        self.assertEqual(
            [':param size: is missing'],
            self.fields('name: str, size: int)', 'Do it.\n\n:param name: x.'),
        )

    def test_parameter_with_a_type_is_described(self):
        self.assertEqual(
            [], self.fields('size: int)', 'Do it.\n\n:param int size: x.')
        )

    def test_private_parameter_needs_no_description(self):
        self.assertEqual([], self.fields('_size: int)', 'Do it.'))

    def test_unknown_parameter_is_noticed(self):
        self.assertEqual(
            [':param size: is no parameter'],
            self.fields(')', 'Do it.\n\n:param size: in bytes.'),
        )

    def test_parameters_of_a_method_are_needed(self):
        self.assertEqual(
            ['C.f: :param a: is missing'],
            self.module_fields(
                """
                class C:
                    def f(self, a: int) -> None:
                        '''Do it.'''
                """
            ),
        )

    def test_constructor_may_be_described_by_its_class(self):
        code = """
            class C:
                '''A thing.

                :param a: what it is.
                '''
                def __init__(self, a: int, b: int) -> None:
                    '''Make it.'''
        """
        self.assertEqual(['C: :param b: is missing'], self.module_fields(code))
        for old, new in (
            ('what it is.', 'one.\n                :param b: another.'),
            ('Make it.', 'Make it.\n\n                    :param b: one.'),
        ):
            self.assertEqual([], self.module_fields(code.replace(old, new)))

    def test_missing_return_is_noticed(self):
        described = 'Find it.\n\n:param a: x.'
        for signature, body in (
            ('a: int) -> int', 'pass'),
            ('a: int)', 'return 1'),
            ('a: int) -> Iterator[int]', 'yield 1'),
        ):
            self.assertEqual(
                [':returns: is missing'],
                self.fields(signature, described, body),
            )
            self.assertEqual(
                [],
                self.fields(signature, f'{described}\n:returns: x.', body),
            )

    def test_nothing_returned_needs_no_field(self):
        for signature, body in (
            (') -> None', 'pass'),
            (") -> 'None'", 'pass'),
            (') -> typing.NoReturn', 'sys.exit()'),
            (') -> Iterator[None]', 'yield'),
            (') -> abc.Iterator[None]', 'yield'),
            (')', 'return'),
            (')', 'def inner():\n    return 1'),
        ):
            self.assertEqual([], self.fields(signature, 'Do it.', body))

    def test_first_line_of_a_property_is_enough(self):
        for decorator in ('@property', '@functools.cached_property'):
            self.assertEqual(
                [],
                self.module_fields(
                    f"""
                    class C:
                        {decorator}
                        def size(self) -> int:
                            '''Size in bytes.'''
                    """
                ),
            )

    def test_first_line_is_enough_without_parameters(self):
        for word in code_metrics.RETURN_WORDS:
            self.assertEqual([], self.fields(') -> int', f'{word} size.'))
        self.assertEqual(
            [':returns: is missing'], self.fields(') -> int', 'Find a size.')
        )

    def test_first_line_is_not_enough_with_parameters(self):
        self.assertEqual(
            [':returns: is missing'],
            self.fields(
                'a: int) -> int', 'Return the size.\n\n:param a: what.'
            ),
        )

    def test_missing_error_is_noticed(self):
        for body in (
            'raise exceptions.Broken(reason=1)',
            'raise exceptions.Broken',
            'raise Broken() from error',
            'for a in b:\n    if a:\n        raise Broken()',
            'with a:\n    raise Broken()',
            'try:\n    f()\nexcept Other:\n    raise Broken()',
            'try:\n    f()\nfinally:\n    raise Broken()',
            'try:\n    raise Broken()\nexcept Other:\n    pass',
            'match a:\n    case 1:\n        raise Broken()',
        ):
            self.assertEqual(
                [':raises Broken: is missing'],
                self.fields(') -> None', 'Do it.', body),
            )
            self.assertEqual(
                [],
                self.fields(
                    ') -> None', 'Do it.\n\n:raises Broken: if so.', body
                ),
            )

    def test_other_raises_need_no_field(self):
        for body in (
            'raise NotImplementedError',
            'raise',
            'raise error',
            'raise invalid(reason=1)',
            'try:\n    raise Broken()\nexcept Broken:\n    pass',
            'try:\n    raise Broken()\nexcept (A, b.Broken):\n    pass',
            'def inner():\n    raise Broken()',
        ):
            self.assertEqual([], self.fields(') -> None', 'Do it.', body))

    def test_list_of_errors_is_noticed(self):
        self.assertEqual(
            [':raises A, B: must name one error'],
            self.fields(') -> None', 'Do it.\n\n:raises A, B: if so.'),
        )

    def test_empty_texts_are_noticed(self):
        self.assertEqual(
            [
                ':param a: has no text',
                ':returns: has no text',
                ':raises A: has no text',
            ],
            self.fields(
                'a: int) -> int',
                'Do it.\n\n:param a:\n:returns:\n:raises A:',
            ),
        )

    def test_text_may_begin_on_the_next_line(self):
        self.assertEqual(
            [],
            self.fields(') -> None', 'Do it.\n\n:raises A:\n    if it is so.'),
        )

    def test_fields_of_private_functions_are_checked(self):
        self.assertEqual(
            ['_f: :raises A, B: must name one error'],
            self.module_fields(
                "def _f(a: int) -> int:\n    ''':raises A, B: if so.'''\n"
            ),
        )

    def test_other_modules_need_no_fields(self):
        self.write('cmd/a.py', "def f(a: int) -> int:\n    '''Do it.'''\n")
        self.assertEqual([], self.violations(FIELDS))


class MirrorTest(MetricsTest):
    LOGIC = 'def f():\n    return 1\n'

    def test_missing_test_module_is_noticed(self):
        self.write('image.py', self.LOGIC)
        self.write('deploy/a.py', 'class C:\n    def f(self): return 1\n')
        self.assertEqual(
            [
                'tests/unit/deploy/test_a.py is missing',
                'tests/unit/test_image.py is missing',
            ],
            self.violations(MIRROR),
        )
        self.write('tests/unit/test_image.py', '')
        self.write('tests/unit/deploy/test_a.py', '')
        self.assertEqual([], self.violations(MIRROR))

    def test_namesake_elsewhere_is_no_mirror(self):
        self.write('deploy/a.py', self.LOGIC)
        self.write('tests/unit/test_a.py', '')
        self.write('tests/nova/test_a.py', '')
        self.assertTrue(self.row(MIRROR).exceeded)

    def test_nova_tests_mirror_virt_by_name(self):
        self.write('virt/driver.py', self.LOGIC)
        self.write('tests/nova/test_servers.py', '')
        self.assertTrue(self.row(MIRROR).exceeded)
        self.write('tests/nova/test_driver.py', '')
        self.assertFalse(self.row(MIRROR).exceeded)

    def test_code_of_a_package_is_mirrored_in_it(self):
        self.write('policies/__init__.py', self.LOGIC)
        self.write('tests/unit/policies/test_policies.py', '')
        self.assertEqual([], self.violations(MIRROR))

    def test_module_without_logic_needs_no_mirror(self):
        self.write(
            'deploy/a.py',
            """
            '''Text.'''
            import abc
            A = 1
            class C(abc.ABC):
                b: int = 2
                def f(self):
                    '''Text.'''
                def g(self):
                    raise NotImplementedError
                def h(self): ...
            """,
        )
        self.assertEqual([], self.violations(MIRROR))

    def test_exempt_modules_exist_and_have_reasons(self):
        package = pathlib.Path(code_metrics.ROOT, code_metrics.PACKAGE)
        for places in (code_metrics.UNMIRRORED, code_metrics.UNTYPED):
            for path, reason in places.items():
                self.assertTrue((package / path).exists(), path)
                self.assertTrue(reason)


class TestNamesTest(MetricsTest):
    def test_names_of_one_or_two_words_are_counted(self):
        self.write(
            'tests/unit/test_a.py',
            """
            class A:
                def test_one(self): pass
                def test_one_two(self): pass
                def test_one_two_three(self): pass
                def helper(self): pass
            def test_x(): pass
            """,
        )
        self.assertEqual(
            ['test_one', 'test_one_two', 'test_x'],
            sorted(self.violations(NAMES)),
        )
        self.assertEqual('4', self.row('tests').value)

    def test_share_decides_on_the_limit(self):
        for short, exceeded in ((2, False), (3, True)):
            names = [
                *(f'test_a_b_c{number}' for number in range(100 - short)),
                *(f'test_{number}' for number in range(short)),
            ]
            self.write(
                'tests/unit/test_a.py',
                ''.join(f'def {name}(): pass\n' for name in names),
            )
            self.assertEqual(exceeded, self.row(NAMES).exceeded)


class ReportTest(MetricsTest):
    def run_script(self, *arguments):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = code_metrics.main(['--root', str(self.root), *arguments])
        return code, output.getvalue()

    def test_too_many_modules_at_the_top_are_noticed(self):
        for number in range(code_metrics.MAX_TOP_LEVEL):
            self.write(f'm{number}.py', '')
        self.assertEqual('14', self.row(TOP_LEVEL).value)
        self.assertFalse(self.row(TOP_LEVEL).exceeded)
        self.write('one_more.py', '')
        self.assertTrue(self.row(TOP_LEVEL).exceeded)

    def test_exit_code_is_zero_below_all_limits(self):
        self.write('image.py', "'''Text.'''\n")
        code, output = self.run_script()
        self.assertEqual(0, code)
        self.assertNotIn('exceeded', output)

    def test_exit_code_is_one_above_a_limit(self):
        self.write('image.py', 'def f(a: Any) -> int:\n    return 1\n')
        code, output = self.run_script()
        self.assertEqual(1, code)
        self.assertIn('exceeded', output)
        self.assertIn('pvm_imagecache/image.py:1: f: a', output)
        self.assertNotIn('the module', output)

    def test_verbose_report_lists_all(self):
        self.write('image.py', 'def f(a: int) -> int:\n    return 1\n')
        _, output = self.run_script('--verbose')
        self.assertIn('pvm_imagecache/image.py:1: the module', output)
