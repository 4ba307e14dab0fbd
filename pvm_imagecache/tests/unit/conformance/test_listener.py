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

"""The suite of listeners: a correct one passes, each broken one fails."""

import sys
import unittest

from pvm_imagecache import fixtures
from pvm_imagecache import plugins
from pvm_imagecache.eviction import time_limit
from pvm_imagecache.tests import packages
from pvm_imagecache.tests.unit import base

_START = """
import threading

from pvm_imagecache import events

RECEIVED = []
END = threading.Event()


class Correct(events.EventListener):
    api_version = 1

    @classmethod
    def from_conf(cls, conf):
        return cls()

    def notify(self, event):
        RECEIVED.append(event.code)

"""
CORRECT = _START + 'Listener = Correct\n'


def with_class(text):
    """Return a listener with other methods or attributes."""
    lines = '\n'.join(f'    {line}' for line in text.strip().splitlines())
    return f'{_START}class Listener(Correct):\n{lines}\n'


#: What is wrong, the source, the test that finds it, and what it says.
BROKEN = {
    'import': (
        'import no_such_module',
        'test_it_can_be_loaded',
        'ModuleNotFoundError',
    ),
    'no listener': (
        'def Listener(event):\n    pass',
        'test_it_can_be_loaded',
        'not a subclass of pvm_imagecache.events.EventListener',
    ),
    'version': (
        with_class('api_version = 4'),
        'test_it_can_be_loaded',
        'version 4 of the contract',
    ),
    'arguments': (
        with_class('def notify(self):\n    pass'),
        'test_it_can_be_loaded',
        'notify must accept (self, event)',
    ),
    'no notify': (
        _START + 'import abc\nclass Listener(Correct):\n'
        '    notify = abc.abstractmethod(Correct.notify)\n',
        'test_it_can_be_loaded',
        'it lacks notify',
    ),
    'from_conf': (
        with_class('@classmethod\ndef from_conf(cls, conf):\n    return 7'),
        'test_it_can_be_loaded',
        'from_conf returned 7',
    ),
    'raises': (
        with_class('def notify(self, event):\n    raise KeyError("x")'),
        'test_it_accepts_all_events',
        'must not raise KeyError',
    ),
    'raises without a name': (
        with_class('def notify(self, event):\n    event.image_name.lower()'),
        'test_it_accepts_all_events',
        'name None must not raise AttributeError',
    ),
    'raises for an unknown code': (
        with_class(
            'def notify(self, event):\n'
            '    {"hit": 1, "miss": 1, "": 1}[event.code]'
        ),
        'test_it_accepts_all_events',
        'must not raise KeyError',
    ),
    'hangs': (
        with_class('def notify(self, event):\n    END.wait()'),
        'test_it_accepts_all_events',
        'must return in time',
    ),
    'exits': (
        with_class('def notify(self, event):\n    raise SystemExit(3)'),
        'test_it_accepts_all_events',
        'must not exit',
    ),
    'hangs at its end': (
        with_class('def close(self):\n    END.wait()'),
        'test_it_ends',
        'close() must return in time',
    ),
    'raises at its end': (
        with_class('def close(self):\n    raise OSError(5)'),
        'test_it_ends',
        'close() must not raise OSError',
    ),
    'cannot be made twice': (
        with_class(
            'made = False\n@classmethod\ndef from_conf(cls, conf):\n'
            '    assert not Listener.made, "only one"\n'
            '    Listener.made = True\n    return cls()'
        ),
        'test_it_can_be_made_again',
        'only one',
    ),
    'fails without figures': (
        with_class(
            'def use(self, usage):\n    self.usage = usage\n'
            'def notify(self, event):\n    self.usage()'
        ),
        'test_it_takes_the_figures_of_the_cache',
        'must not raise PowerVMTimedOut',
    ),
    'delivers nothing': (
        with_class('def notify(self, event):\n    pass'),
        'test_events_are_delivered',
        'no event reached the receiver',
    ),
}


class SuiteTest(base.TestCase):
    def failures(self, code, names=()):
        """Run the suite, or tests of it; returns their messages."""
        package = packages.Package(
            code, {plugins.LISTENERS: {'theirs': 'Listener'}}
        )

        class Suite(fixtures.ListenerConformance, unittest.TestCase):
            listener = 'theirs'

            def received(self):
                return sys.modules[package.module].RECEIVED

        tests = (
            map(Suite, names)
            if names
            else unittest.defaultTestLoader.loadTestsFromTestCase(Suite)
        )
        result = unittest.TestResult()
        with package:
            unittest.TestSuite(tests).run(result)
            module = sys.modules.get(package.module)
        if hasattr(module, 'END'):
            # The call that hangs.
            module.END.set()
        self.assertEqual([], result.skipped)
        return {
            test.id().rpartition('.')[2]: text
            for test, text in result.failures + result.errors
        }

    def test_a_correct_listener_passes(self):
        self.assertEqual({}, self.failures(CORRECT))

    def test_each_broken_listener_fails_with_its_cause(self):
        self.assertGreaterEqual(len(BROKEN), 8)
        for name, (code, test, cause) in BROKEN.items():
            self.patch(
                time_limit, 'TIME_LIMIT', 0.3 if 'hangs' in name else 10
            )
            with self.subTest(name):
                found = self.failures(code, [test])
                self.assertEqual([test], list(found), name)
                self.assertIn(cause, found[test], name)

    def test_the_built_in_listeners_pass(self):
        for name in ('metrics', 'notifications'):
            suite = type(
                'Suite',
                (fixtures.ListenerConformance, unittest.TestCase),
                {'listener': name},
            )
            result = unittest.TestResult()
            unittest.defaultTestLoader.loadTestsFromTestCase(suite).run(result)
            self.assertEqual([], result.failures + result.errors)
