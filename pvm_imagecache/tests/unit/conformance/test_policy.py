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

"""The suite of policies: correct ones pass, each broken one fails."""

import sys
import unittest

from pvm_imagecache import fixtures
from pvm_imagecache import plugins
from pvm_imagecache.conformance import policy as policy_suite
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import time_limit
from pvm_imagecache.tests import packages
from pvm_imagecache.tests.unit import base

_START = """
import datetime
import random
import threading
import time

from oslo_config import cfg

from pvm_imagecache import exceptions
from pvm_imagecache.conf import registration
from pvm_imagecache.eviction import base

GROUP = cfg.OptGroup('pvm_imagecache_theirs')
OPTIONS = [
    cfg.IntOpt('keep', default=3, min=0, mutable=True),
    cfg.ListOpt('golden', default=[], mutable=True),
]
DAY = 86400.0
END = threading.Event()


def decide(images, code='not-kept', reason='it is not kept'):
    return [base.Decision(each.image_id, code, reason) for each in images]


class Correct(base.EvictionPolicy):
    api_version = 1

    def __init__(self, keep, golden=()):
        self.keep = keep
        self.golden = golden

    @classmethod
    def from_conf(cls, conf):
        registration.register(conf, GROUP, OPTIONS)
        options = conf[GROUP.name]
        return cls(options.keep, options.golden)

    def choose(self, view):
        found = view.candidates()
        return decide(found[:max(0, len(found) - self.keep)])

    def protects(self, view):
        return decide(
            [each for each in view.images if each.name in self.golden],
            'golden', 'its name is one of golden')

"""
CORRECT = _START + 'Policy = Correct\n'


def choosing(text):
    """Return a policy with another method choose()."""
    lines = '\n'.join(f'        {line}' for line in text.strip().splitlines())
    return (
        f'{_START}class Policy(Correct):\n'
        f'    def choose(self, view):\n{lines}\n'
    )


def with_class(text):
    """Return a policy with other methods or attributes."""
    lines = '\n'.join(f'    {line}' for line in text.strip().splitlines())
    return f'{_START}class Policy(Correct):\n{lines}\n'


#: What is wrong, the source, the test that finds it, and what it says.
BROKEN = {
    'no decisions': (
        choosing('return [each.image_id for each in view.candidates()]'),
        'test_it_returns_decisions',
        'a policy must return decisions',
    ),
    'unknown image': (
        choosing("return [base.Decision('x', 'code', 'reason')]"),
        'test_it_returns_decisions',
        '',
    ),
    'no reason': (
        choosing("return decide(view.candidates(), 'code', '')"),
        'test_it_returns_decisions',
        "the reason '' must be text on one line",
    ),
    'reason of several lines': (
        choosing("return decide(view.candidates(), 'code', 'a\\nb')"),
        'test_it_returns_decisions',
        'must be text on one line',
    ),
    'no code': (
        choosing("return decide(view.candidates(), '')"),
        'test_it_returns_decisions',
        "the code '' must be lowercase words",
    ),
    'code of another form': (
        choosing("return decide(view.candidates(), 'Not A Code!')"),
        'test_it_returns_decisions',
        "the code 'Not A Code!' must be lowercase words",
    ),
    'reserved code': (
        choosing("return decide(view.candidates(), 'pinned')"),
        'test_it_returns_decisions',
        'this code has a meaning of its own',
    ),
    'an image twice': (
        choosing('return decide(view.candidates()[:1] * 2)'),
        'test_it_chooses_no_image_twice',
        'one decision for each image',
    ),
    'an endless generator': (
        choosing('while view.images:\n    yield from decide(view.images)'),
        'test_it_returns_decisions',
        'at most one decision for each image',
    ),
    'vetoed images': (
        choosing('return decide(view.images)'),
        'test_it_chooses_no_vetoed_image',
        'choose images of view.candidates() only',
    ),
    'the clock of the host': (
        choosing(
            'return decide([each for each in view.candidates()\n'
            '    if time.time() - each.last_used_at > 9 * DAY])'
        ),
        'test_a_shift_of_all_times_changes_nothing',
        'use no clock except view.now',
    ),
    'the clock of datetime': (
        choosing(
            'now = datetime.datetime.now().timestamp()\n'
            'return decide([each for each in view.candidates()\n'
            '    if now - each.ready_at > 30 * DAY])'
        ),
        'test_a_shift_of_all_times_changes_nothing',
        'use no clock except view.now',
    ),
    'dates instead of ages': (
        choosing(
            'return decide([each for each in view.candidates()\n'
            '    if (each.created_at or 0) > 1.795e9])'
        ),
        'test_a_shift_of_all_times_changes_nothing',
        'decide by ages, not dates',
    ),
    'random numbers': (
        choosing(
            'found = view.candidates()\n'
            'return decide(random.sample(found, len(found) // 2))'
        ),
        'test_it_decides_by_the_view_alone',
        'use no random numbers',
    ),
    'state between calls': (
        choosing(
            'self.calls = getattr(self, "calls", 0) + 1\n'
            'return decide(view.candidates()[:self.calls % 3])'
        ),
        'test_it_decides_by_the_view_alone',
        'keep no state between calls',
    ),
    'state of another view': (
        choosing(
            'known = getattr(self, "known", None)\n'
            'self.known = known or {each.image_id for each in view.images}\n'
            'return decide([each for each in view.candidates()\n'
            '    if each.image_id in self.known])'
        ),
        'test_it_decides_something',
        '',
    ),
    'order of the images': (
        choosing(
            'return decide([each for each in view.images\n'
            '    if each.veto is None][:1])'
        ),
        'test_the_order_of_images_does_not_matter',
        'the order of the images must not matter',
    ),
    'returns nothing': (
        choosing('pass'),
        'test_it_returns_decisions',
        'choose() must return an iterable of decisions',
    ),
    'never protects': (
        with_class('def protects(self, view):\n    return ()'),
        'test_it_decides_something',
        'protects() never protected an image',
    ),
    'never chooses': (
        choosing('return ()'),
        'test_it_decides_something',
        'it never chose an image',
    ),
    'depends on a name that no image has': (
        choosing(
            'return decide([each for each in view.candidates()\n'
            '    if (each.name or "").startswith("daily")])'
        ),
        'test_it_decides_something',
        'it never chose an image',
    ),
    'fails with a demand': (
        choosing(
            'return decide(view.candidates()[:10 // (10_000 - '
            'view.demand_disks)])'
        ),
        'test_it_answers_a_demand',
        'ZeroDivisionError',
    ),
    'fails without a name': (
        choosing(
            'return decide([each for each in view.candidates()\n'
            '    if each.name.endswith("0")])'
        ),
        'test_it_returns_decisions',
        "'NoneType' object has no attribute",
    ),
    'fails with an empty cache': (
        choosing(
            'return decide([min(view.candidates(),\n'
            '    key=lambda each: each.hits)])'
        ),
        'test_it_chooses_nothing_of_an_empty_cache',
        'ValueError',
    ),
    'changes the view': (
        choosing(
            'for each in view.images:\n'
            '    each.properties["seen"] = "yes"\nreturn ()'
        ),
        'test_it_returns_decisions',
        'TypeError',
    ),
    'hangs': (
        choosing('END.wait()'),
        'test_it_returns_decisions',
        'TimeLimitExceeded',
    ),
    'ends the process': (
        choosing('raise SystemExit(0)'),
        'test_it_returns_decisions',
        'ExitedError',
    ),
    'reads its options late': (
        with_class(
            '@classmethod\ndef from_conf(cls, conf):\n'
            '    registration.register(conf, GROUP, OPTIONS)\n'
            '    self = cls(3)\n    self.conf = conf\n    return self'
        ),
        'test_invalid_options_are_refused',
        'read all options in from_conf',
    ),
    'accepts invalid options': (
        with_class(
            '@classmethod\ndef from_conf(cls, conf):\n'
            '    registration.register(conf, GROUP, OPTIONS)\n'
            '    try:\n        return cls(conf[GROUP.name].keep)\n'
            '    except ValueError:\n        return cls(3)'
        ),
        'test_invalid_options_are_refused',
        'must be refused',
    ),
    'fails with invalid options': (
        with_class(
            '@classmethod\ndef from_conf(cls, conf):\n'
            '    registration.register(conf, GROUP, OPTIONS)\n'
            '    try:\n        return cls(conf[GROUP.name].keep)\n'
            '    except ValueError as error:\n'
            '        raise KeyError("keep") from error'
        ),
        'test_invalid_options_are_refused',
        'must raise ConfigurationError',
    ),
    'cannot be made again': (
        with_class(
            'made = False\n@classmethod\ndef from_conf(cls, conf):\n'
            '    if getattr(conf, "_made_theirs", False):\n'
            '        raise RuntimeError("again")\n'
            '    conf._made_theirs = True\n'
            '    return super().from_conf(conf)'
        ),
        'test_it_can_be_made_again',
        'RuntimeError: again',
    ),
    'protects unknown images': (
        with_class(
            'def protects(self, view):\n'
            '    return [base.Decision("x", "code", "reason")]'
        ),
        'test_it_protects_known_images',
        '',
    ),
    'protects with a reserved code': (
        with_class(
            'def protects(self, view):\n'
            '    return decide(view.images, "protected")'
        ),
        'test_it_protects_known_images',
        'this code has a meaning of its own',
    ),
    'version': (
        with_class('api_version = 3'),
        'test_it_can_be_loaded',
        'version 3 of the contract',
    ),
    'arguments of protects': (
        with_class('def protects(self):\n    return ()'),
        'test_it_can_be_loaded',
        'protects must accept (self, view)',
    ),
    'no choose': (
        _START + 'import abc\nclass Policy(Correct):\n'
        '    choose = abc.abstractmethod(Correct.choose)\n',
        'test_it_can_be_loaded',
        'it lacks choose',
    ),
    'import': (
        'import no_such_module',
        'test_it_can_be_loaded',
        'ModuleNotFoundError',
    ),
}


class SuiteTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        # Enough for what is tested here.
        self.patch(policy_suite, '_VIEWS', 20)
        self.patch(time_limit, 'TIME_LIMIT', 5.0)

    def failures(self, code, names=(), **attributes):
        """Run the suite, or tests of it; returns their messages."""
        suite = type(
            'Suite',
            (fixtures.PolicyConformance, unittest.TestCase),
            {'policy': 'theirs', **attributes},
        )
        tests = (
            map(suite, names)
            if names
            else unittest.defaultTestLoader.loadTestsFromTestCase(suite)
        )
        result = unittest.TestResult()
        package = packages.Package(
            code, {plugins.EVICTION: {'theirs': 'Policy'}}
        )
        with package:
            unittest.TestSuite(tests).run(result)
            module = sys.modules.get(package.module)
        if hasattr(module, 'END'):
            # The call that hangs.
            module.END.set()
        return {
            test.id().rpartition('.')[2]: text
            for test, text in result.failures + result.errors
        }


class CorrectPolicyTest(SuiteTestCase):
    def test_a_policy_that_only_chooses_passes(self):
        code = with_class('protects = base.EvictionPolicy.protects')
        self.assertEqual({}, self.failures(code))

    def test_it_passes_with_all_that_can_be_given(self):
        group = 'pvm_imagecache_theirs'
        self.assertEqual(
            {},
            self.failures(
                CORRECT,
                options={group: {'golden': 'golden-debian'}},
                changed_options={group: {'keep': 30}},
                invalid_options=[{group: {'keep': -7}}],
                image_names=('golden-debian', 'daily'),
            ),
        )

    def test_a_policy_that_only_protects_passes(self):
        group = 'pvm_imagecache_theirs'
        options = {group: {'golden': 'golden-debian'}}
        code = choosing('return ()')
        self.assertEqual(
            {},
            self.failures(
                code,
                options=options,
                chooses=False,
                image_names=('golden-debian', 'daily'),
            ),
        )
        for attributes, cause in (
            ({'chooses': False}, 'protects() never protected an image'),
            ({}, 'it never chose an image'),
        ):
            found = self.failures(code, options=options, **attributes)
            self.assertIn(cause, found['test_it_decides_something'])
        found = self.failures(CORRECT, chooses=False)
        self.assertIn(
            'remove "chooses = False"', found['test_it_decides_something']
        )

    def test_names_tags_projects_and_properties_can_be_given(self):
        for condition, attributes in (
            ('each.name == "daily"', {'image_names': ('daily',)}),
            ('each.project_id == "ops"', {'image_projects': ('ops',)}),
            ('"old" in each.tags', {'image_tags': ('old',)}),
            (
                'each.properties.get("os_distro") == "aix"',
                {'image_properties': {'os_distro': ('aix', 'debian')}},
            ),
        ):
            code = choosing(
                'return decide([each for each in view.candidates()\n'
                f'    if {condition}])'
            )
            code += '    protects = base.EvictionPolicy.protects\n'
            self.assertEqual({}, self.failures(code, **attributes))
            self.assertEqual(
                {'test_it_decides_something'}, set(self.failures(code))
            )

    def test_changed_options_without_an_effect_are_found(self):
        group = 'pvm_imagecache_theirs'
        code = CORRECT.replace(
            'cls(options.keep, options.golden)', 'cls(3, options.golden)'
        )
        found = self.failures(code, changed_options={group: {'keep': 30}})
        self.assertIn(
            'it decides the same', found['test_changed_options_are_used']
        )
        code = CORRECT.replace(
            "cfg.IntOpt('keep', default=3, min=0, mutable=True)",
            "cfg.IntOpt('keep', default=3, min=0)",
        )
        found = self.failures(code, changed_options={group: {'keep': 30}})
        self.assertIn(
            'not declared mutable', found['test_changed_options_are_used']
        )

    def test_the_policy_is_called_in_the_thread_of_the_test(self):
        code = choosing(
            'import threading\n'
            'if threading.current_thread() is threading.main_thread():\n'
            '    raise RuntimeError("it was called without a fence")\n'
            'return decide(view.candidates())'
        )
        found = self.failures(code, ['test_it_returns_decisions'])
        self.assertIn('without a fence', found['test_it_returns_decisions'])


class BrokenPolicyTest(SuiteTestCase):
    def test_each_fails_with_its_cause(self):
        for name, (code, test, cause) in BROKEN.items():
            if name == 'hangs':
                self.patch(time_limit, 'TIME_LIMIT', 0.1)
            with self.subTest(name):
                found = self.failures(code, [test])
                self.assertEqual([test], list(found), name)
                self.assertIn(cause, found[test], name)

    def test_there_are_enough_of_them(self):
        self.assertGreaterEqual(len(BROKEN), 15)


class BuiltInTest(base.TestCase):
    """The policies of this project pass."""

    def failures(self, **attributes):
        suite = type(
            'Suite',
            (fixtures.PolicyConformance, unittest.TestCase),
            attributes,
        )
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(suite).run(result)
        self.assertGreater(result.testsRun, 10)
        return {
            test.id().rpartition('.')[2]: text
            for test, text in result.failures + result.errors
        }

    def test_they_pass_the_suite(self):
        for policy, options, changed in (
            ('age', {'max_age': 86400}, {'max_age': 864000}),
            ('lru', {'max_images': 3, 'max_gib': 20}, {'max_images': 1}),
            ('watermark', {'high': 50, 'low': 20}, {'high': 90}),
            ('none', {}, {}),
        ):
            group = f'pvm_imagecache_{policy}'
            with self.subTest(policy):
                self.assertEqual(
                    {},
                    self.failures(
                        policy=policy,
                        options={group: options} if options else {},
                        changed_options={group: changed} if changed else {},
                        chooses=policy != 'none',
                    ),
                    policy,
                )
        self.assertEqual(1, eviction_base.API_VERSION)
