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

"""Commands of other packages: correct ones, and every kind of broken one."""

import textwrap

from oslo_config import cfg
from oslo_policy import generator

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import command_check
from pvm_imagecache.cmd import command_manager
from pvm_imagecache.cmd import shell
from pvm_imagecache.cmd import status
from pvm_imagecache.system import entry_points
from pvm_imagecache.system import identity
from pvm_imagecache.tests import packages
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import cases

START = """
from pvm_imagecache.cmd import base
from pvm_imagecache.policies import rules
RULE = rules.define(
    'theirs:report', 'Report what is cached.', 'report',
    persona=rules.Persona.READER)
"""
CORRECT = """
class Command(base.Command):
    \"\"\"Report something.\"\"\"

    api_version = 1
    rule = RULE
    examples = (('report', 'report it'),)

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('--dry-run', action='store_true')
        parser.add_argument('--limit', type=int)
        return parser

    def take_action(self, parsed_args):
        self.app.stdout.write('reported\\n')
"""


def changed(old, new, code=CORRECT):
    """Return the correct command with something else in it."""
    assert old in code, old
    return code.replace(old, new)


_TAKE_ACTION = "self.app.stdout.write('reported\\n')"

#: What is wrong, the source, and what the refusal says.
BROKEN = {
    'import': ('import no_such_module', 'ModuleNotFoundError'),
    'syntax': ('class', 'SyntaxError'),
    'exits at import': ('raise SystemExit(3)', 'raised SystemExit: 3'),
    'own error at import': (
        'class Error(BaseException):\n    pass\nraise Error("hot")',
        'raised Error: hot',
    ),
    'no such attribute': ('Other = 1', 'Command'),
    'not a class': ('Command = 42', 'not a subclass of Command'),
    'another class': ('class Command:\n    pass', 'not a subclass of'),
    'no take_action': (
        changed('def take_action', 'def take_no_action'),
        'it lacks take_action',
    ),
    'arguments of take_action': (
        changed('take_action(self, parsed_args)', 'take_action(self)'),
        'take_action must accept (self, parsed_args)',
    ),
    'constructor': (
        CORRECT + '    def __init__(self):\n        pass\n',
        '__init__ must accept (self, app, app_args)',
    ),
    'failing constructor': (
        CORRECT
        + '    def __init__(self, app, app_args, cmd_name=None):\n'
        + '        raise KeyError("x")\n',
        "making it raised KeyError: 'x'",
    ),
    'rule is text': (
        changed('rule = RULE', 'rule = "theirs:report"'),
        "rule: 'theirs:report' is not a rule",
    ),
    'rule is missing': (
        changed('rule = RULE', 'rule = None'),
        'rule: None is not a rule',
    ),
    'rule with a name of ours': (
        changed(
            'rule = RULE',
            "rule = rules.Rule('pvm_imagecache:purge', "
            "rules.Persona.READER, 'x', ('report',))",
        ),
        "'pvm_imagecache:purge' of its rule begins with",
    ),
    'rule with such a name in capitals': (
        changed(
            'rule = RULE',
            "rule = rules.Rule('PVM_imagecache:purge', "
            "rules.Persona.READER, 'x', ('report',))",
        ),
        "'PVM_imagecache:purge' of its rule",
    ),
    'commands of the rule': (
        changed(
            'rule = RULE',
            "rule = rules.Rule('theirs:report', "
            "rules.Persona.READER, 'x', 'report')",
        ),
        'names no commands',
    ),
    'control characters in commands of the rule': (
        changed(
            'rule = RULE',
            "rule = rules.Rule('theirs:report', "
            "rules.Persona.READER, 'x', ('re\\nport',))",
        ),
        'names no commands',
    ),
    'columns is None': (
        changed('rule = RULE', 'rule = RULE\n    columns = None'),
        'columns is not a sequence of names',
    ),
    'an attribute that raises an error': (
        'class Meta(type):\n'
        '    @property\n'
        '    def columns(cls):\n'
        '        raise KeyError("hot")\n'
        + changed(
            '(base.Command)',
            '(base.Command, metaclass=type("M", '
            '(type(base.Command), Meta), {}))',
        ),
        "checking it raised KeyError: 'hot'",
    ),
    'rule without a prefix': (
        changed(
            'rule = RULE',
            "rule = rules.define('report', 'Report it.')",
        ),
        'is not "prefix:name"',
    ),
    'dry_run_rule': (
        changed('rule = RULE', 'rule = RULE\n    dry_run_rule = "explain"'),
        "dry_run_rule: 'explain' is not a rule",
    ),
    'own run': (
        CORRECT + '    def run(self, parsed_args):\n        return 0\n',
        'its run() is not that of pvm_imagecache.cmd.base',
    ),
    'bases in the wrong order': (
        'from cliff import command\n'
        + changed(
            'Command(base.Command)', 'Command(command.Command, base.Command)'
        ).replace('Command, base.Command', 'Command, base.Authorized'),
        'its run() is not that of pvm_imagecache.cmd.base',
    ),
    'version': (
        changed('api_version = 1', 'api_version = 99'),
        'version 99 of the contract',
    ),
    'option twice': (
        changed("'--limit'", "'--dry-run'"),
        'get_parser raised ArgumentError',
    ),
    'parser': (
        changed('return parser', 'return None'),
        'get_parser returned NoneType',
    ),
    'help': (
        changed('type=int', "help='100%'"),
        # From Python 3.14 on, the parser itself refuses it.
        'raised ValueError',
    ),
    'columns': (
        changed('base.Command', 'base.Lister').replace(
            'api_version = 1', 'api_version = 1\n    columns = "Name"'
        ),
        'columns is not a sequence of names',
    ),
    'examples': (
        changed("(('report', 'report it'),)", "'report'"),
        'examples are not pairs',
    ),
}


class CommandPluginTestCase(cases.CommandTestCase):
    def install(self, code=CORRECT, name='report', package='their-package'):
        return self.useFixture(
            packages.Package(
                START + textwrap.dedent(code),
                {entry_points.COMMANDS: {name: 'Command'}},
                package,
            )
        )

    def policy(self, text):
        """Write the operator's policy file."""
        self.conf.set_override(
            'policy_file',
            self.useFixture(
                base.TextFile(self.path('policy.yaml'), text)
            ).path,
            'pvm_imagecache',
        )

    def be(self, *roles):
        self.user = identity.Identity('ann', frozenset(roles))


class BrokenCommandTest(CommandPluginTestCase):
    def test_each_is_refused_with_its_cause_and_harms_nothing(self):
        for name, (code, cause) in BROKEN.items():
            package = packages.Package(
                START + textwrap.dedent(code),
                {entry_points.COMMANDS: {'report': 'Command'}},
            )
            with self.subTest(name), package:
                message = self.refused('report')
                self.assertIn(
                    'Plugin "report" of pvm_imagecache.cli (from '
                    'their-package 1.5) cannot be used: ',
                    message,
                )
                self.assertIn(cause, message)
                self.assertNotIn('Traceback', message)
                # The others work, in spite of it.
                self.run_command('list')
                self.assertIn('purge', self.run_command('complete'))
                self.assertNotIn('report', self.output.getvalue())
                self.assertIn('cannot be used', self.run_command('--help'))
                (row,) = [
                    each
                    for each in self.json('plugin list')
                    if each['Name'] == 'report'
                ]
                self.assertEqual(
                    ('command', 'broken', 'their-package 1.5', '1.5'),
                    tuple(
                        row[each]
                        for each in ('Kind', 'State', 'Package', 'Version')
                    ),
                )
                self.assertIn(cause, row['Error'])

    def test_there_are_enough_of_them(self):
        self.assertGreaterEqual(len(BROKEN), 8)

    def test_a_command_that_fails_names_its_package(self):
        for body, cause in (
            ('raise KeyError(0)', 'failed: KeyError: 0.'),
            ('raise OSError(2, "gone", "x")', 'FileNotFoundError: [Errno 2]'),
            ('return "done"', 'take_action returned str'),
            ('return {}["x"]', "KeyError: 'x'"),
        ):
            package = packages.Package(
                START + changed(_TAKE_ACTION, body),
                {entry_points.COMMANDS: {'report': 'Command'}},
            )
            with package:
                message = self.refused('report')
            self.assertIn('(from their-package 1.5)', message)
            self.assertIn(cause, message)

    def test_a_rule_for_that_returns_no_rule_is_refused(self):
        self.install(
            CORRECT
            + '    def rule_for(self, parsed_args):\n        return "x"\n'
        )
        self.assertIn("TypeError: 'x' is not a rule", self.refused('report'))

    def test_an_error_of_ours_is_shown_as_it_is(self):
        self.install(changed(_TAKE_ACTION, 'self.app.source.get("x")'))
        self.assertNotIn('their-package', self.refused('report'))


class CorrectCommandTest(CommandPluginTestCase):
    def test_it_works_like_a_command_of_ours(self):
        self.install()
        self.assertEqual('reported\n', self.run_command('report'))
        self.assertIn('report', self.run_command('--help'))
        self.assertIn('--limit', self.run_command('help', 'report'))
        self.assertIn('--limit', self.run_command('complete'))
        (row,) = [
            each
            for each in self.json('plugin list')
            if each['Name'] == 'report'
        ]
        self.assertEqual(
            ('enabled', True, ''),
            (row['State'], row['Enabled'], row['Error']),
        )

    def test_what_it_prints_at_import_is_no_output_of_plugin_list(self):
        self.install('print("hello")\n' + CORRECT)
        self.json('plugin list')

    def test_two_packages_with_one_command_are_both_refused(self):
        self.install()
        self.install(package='another-package')
        message = self.refused('report')
        self.assertIn('another-package 1.5 and their-package 1.5', message)
        states = [
            each['State']
            for each in self.json('plugin list')
            if each['Name'] == 'report'
        ]
        self.assertEqual(['refused', 'refused'], states)

    def test_a_command_with_the_name_of_ours_is_refused(self):
        self.install(name='plugin_list')
        states = {
            each['Name']: each['State'] for each in self.json('plugin list')
        }
        self.assertEqual('refused', states['plugin list'])

    def test_an_older_version_is_accepted_with_a_warning(self):
        self.install()
        (plugin,) = command_manager.find_others(entry_points.COMMANDS)
        self.patch(command_check.base, 'API_VERSION', 2)
        command_check.load(plugin)
        self.patch(command_check.base, 'API_VERSION', 3)
        error = self.assertRaises(
            exceptions.PluginInvalid, command_check.load, plugin
        )
        self.assertIn('accepts version 2 and 3', str(error))


class RuleTest(CommandPluginTestCase):
    def denied(self, *arguments):
        return self.refused(*arguments)

    def test_its_rule_applies_without_a_policy_file(self):
        self.install()
        self.be('reader')
        self.run_command('report')
        self.be('member')
        self.assertIn('theirs:report', self.denied('report'))

    def test_its_rule_applies_with_a_policy_file(self):
        self.install()
        for text, roles, allowed in (
            ('{}', ('reader',), True),
            ('"theirs:report": "role:operator"', ('operator',), True),
            ('"theirs:report": "role:operator"', ('admin',), False),
            ('"pvm_imagecache:reader": "role:auditor"', ('auditor',), True),
            ('"pvm_imagecache:reader": "role:auditor"', ('reader',), False),
            (
                '"theirs:report": "rule:theirs:staff"\n'
                '"theirs:staff": "role:staff"',
                ('staff',),
                True,
            ),
        ):
            self.policy(text)
            self.be(*roles)
            if allowed:
                self.run_command('report')
            else:
                self.assertIn('theirs:report', self.denied('report'))

    def test_a_rule_of_ours_can_refer_to_that_of_a_package(self):
        self.policy('"pvm_imagecache:list": "rule:theirs:report"')
        self.be('reader')
        self.assertIn('cannot be used', self.denied('list'))
        self.install()
        self.run_command('list')
        self.be('member')
        self.denied('list')

    def test_a_dry_run_has_the_rule_of_the_command(self):
        self.install(changed('READER', 'ADMIN', START) + CORRECT)
        self.be('reader')
        for arguments in (('report',), ('report', '--dry-run')):
            self.assertIn('theirs:report', self.denied(*arguments))

    def test_a_dry_run_has_the_rule_that_is_declared_for_it(self):
        self.install(
            changed('READER', 'ADMIN', START)
            + changed(
                'rule = RULE',
                'rule = RULE\n'
                "    dry_run_rule = rules.define('theirs:look', 'Look.',\n"
                '        persona=rules.Persona.READER)',
            )
        )
        self.be('reader')
        self.run_command('report', '--dry-run')
        self.denied('report')
        self.policy('"theirs:look": "!"')
        self.assertIn('theirs:look', self.denied('report', '--dry-run'))

    def test_a_rule_does_not_inherit_a_weaker_one_for_dry_runs(self):
        self.install(
            'from pvm_imagecache.cmd import purge\n'
            + changed('READER', 'ADMIN', START)
            + changed('base.Command', 'purge.PurgeImages').replace(
                "        parser.add_argument('--dry-run', "
                "action='store_true')\n",
                '',
            )
        )
        self.be('reader')
        self.assertIn(
            'theirs:report', self.denied('report', '--all', '--dry-run')
        )

    def test_a_command_of_cliff_has_the_default_rule_in_a_dry_run(self):
        self.install(
            'from cliff import command\n'
            + changed('base.Command', 'command.Command')
        )
        self.be('reader')
        for arguments in (('report',), ('report', '--dry-run')):
            self.assertIn('pvm_imagecache:default', self.denied(*arguments))

    def test_dry_runs_of_our_commands_have_the_rule_explain(self):
        self.cache('debian-13')
        self.be('reader')
        for arguments in (
            ('purge', '--all', '--dry-run'),
            ('evict', '--dry-run'),
        ):
            self.run_command(*arguments)
        self.denied('purge', '--all', '--yes')

    def test_the_sample_of_the_policy_file_has_it(self):
        self.install()
        self.install('import no_such_module', 'broken', 'broken-package')
        path = self.path('sample.yaml')
        generator.generate_sample(
            ['--namespace', 'pvm_imagecache', '--output-file', path],
            cfg.ConfigOpts(),
        )
        with open(path, encoding='utf-8') as file:
            sample = file.read()
        self.assertIn('#"theirs:report": "rule:pvm_imagecache:reader"', sample)
        self.assertIn('# pvm-imagecache  report', sample)
        self.assertIn('Report what is cached.', sample)
        # The sample itself is a policy file that can be used.
        self.policy(sample.replace('#"', '"'))
        self.be('reader')
        self.run_command('report')

    def test_the_status_command_knows_it(self):
        self.policy('"theirs:report": "role:x"')
        checks = status.Checks(self.conf)
        self.assertIn('unknown rules: theirs:report', self.details(checks))
        self.install()
        self.assertIsNone(self.details(checks))

    def test_the_status_command_warns_of_broken_commands(self):
        checks = status.Checks(self.conf)
        self.addCleanup(checks.close)
        self.install()
        self.assertIsNone(checks._plugins().details)
        self.install('import no_such_module', 'broken', 'broken-package')
        self.conf.set_override('listeners', ['absent'], 'pvm_imagecache')
        found = checks._plugins()
        self.assertIn('broken-package 1.5', found.details)
        self.assertIn('"absent"', found.details)
        self.assertIs(status._Code.WARNING, found.code)

    @staticmethod
    def details(checks):
        return checks._policy_file().details


class NamespaceTest(base.TestCase):
    def test_the_namespace_is_the_same_everywhere(self):
        self.assertEqual(shell.NAMESPACE, entry_points.COMMANDS)
