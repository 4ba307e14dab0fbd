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

"""Policies that do not answer in time, under eventlet."""

import subprocess
import sys
import textwrap

from oslotest import base

_PRELUDE = """
    import eventlet
    eventlet.monkey_patch()
    import time
    from pvm_imagecache.eviction import age
    from pvm_imagecache.eviction import base
    from pvm_imagecache.eviction import none
    from pvm_imagecache.eviction import pipeline
    from pvm_imagecache.eviction import time_limit

    time_limit.TIME_LIMIT = 0.5
    ticks = 0

    def count():
        global ticks
        while True:
            ticks += 1
            time.sleep(0.01)

    eventlet.spawn(count)
    time.sleep(0.1)
    view = base.CacheView(10.0, 1, 0, 0, (
        base.CachedImage('image', 'i', 1, 0.0, 0.0, 0),))

    def plan(*policies):
        before = ticks
        plan = pipeline.plan(view, policies)
        print(*(each.policy for each in plan.choices),
              *(f'{name}: {why}' for name, why in plan.faults), sep='; ')
        return ticks - before

    age_policy = pipeline.NamedPolicy('age', age.AgePolicy(5))
"""
_WAITS = """
    class Waits(none.NonePolicy):
        def choose(self, view):
            time.sleep(1000)

    waits = pipeline.NamedPolicy('waits', Waits())
    assert plan(waits, age_policy) > 5, 'the other green thread was stopped'
    plan(waits, age_policy)
"""
_COMPUTES = """
    class Computes(none.NonePolicy):
        def choose(self, view):
            end = time.monotonic() + 1
            while time.monotonic() < end:
                pass
            return ()

    computes = pipeline.NamedPolicy('computes', Computes())
    assert plan(computes, age_policy) < 5, 'the hub was not blocked'
    before = ticks
    time.sleep(0.2)
    assert ticks > before, 'the other green thread was stopped'
"""
_ENDS = """
    class Ends(none.NonePolicy):
        def choose(self, view):
            raise error

    for error in (SystemExit(3), eventlet.greenlet.GreenletExit()):
        plan(pipeline.NamedPolicy('ends', Ends()), age_policy)
"""
_NO_RESULT = (
    'no result within 0.5 s; it is not asked again until the process is '
    'restarted or reloads its configuration'
)


class GreenPolicyTestCase(base.BaseTestCase):
    def run_script(self, script: str) -> list[str]:
        """Return the lines that a script prints under eventlet."""
        done = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-c',
                textwrap.dedent(_PRELUDE) + textwrap.dedent(script),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout.splitlines()

    def test_a_policy_that_waits_is_left_behind(self) -> None:
        self.assertEqual(
            [f'age; waits: {_NO_RESULT}'] * 2, self.run_script(_WAITS)
        )

    def test_a_policy_that_computes_blocks_only_until_it_ends(self) -> None:
        """The hub cannot be interrupted: the documented limitation."""
        (line,) = self.run_script(_COMPUTES)
        self.assertIn(line, ('age', f'age; computes: {_NO_RESULT}'))

    def test_a_policy_that_exits_does_not_end_the_service(self) -> None:
        self.assertEqual(
            [
                'age; ends: it raised SystemExit',
                'age; ends: it raised GreenletExit',
            ],
            self.run_script(_ENDS),
        )
