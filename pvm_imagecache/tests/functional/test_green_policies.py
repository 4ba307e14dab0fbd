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

"""Policies that never end, in nova-compute with green threads."""

import subprocess
import sys

from oslotest import base

_SCRIPT = """
import eventlet
eventlet.monkey_patch()
import time
from pvm_imagecache.eviction import age, base, fence, none, pipeline

fence.Call.__init__.__defaults__ = (0.5,)
fence._GRACE = 0.5
ticks = 0

def count():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.01)

class Loops(none.NonePolicy):
    def choose(self, view):
        while True: pass

class Sleeps(none.NonePolicy):
    def choose(self, view):
        time.sleep(1000)

other = eventlet.spawn(count)
view = base.CacheView(10.0, 1, 0, 0, (
    base.CachedImage('image', 'i', 1, 0.0, 0.0, 0),))
policies = [pipeline.NamedPolicy('loops', Loops()),
            pipeline.NamedPolicy('sleeps', Sleeps()),
            pipeline.NamedPolicy('age', age.AgePolicy(5))]
for _ in range(2):
    plan = pipeline.plan(view, policies)
    print(*(each.policy for each in plan.choices),
          *(f'{name}: {why}' for name, why in plan.faults), sep='; ')
before = ticks
time.sleep(1)
assert ticks > before + 10, 'the other one was stopped'
assert not other.dead
"""


class GreenPolicyTestCase(base.BaseTestCase):
    def test_they_stop_nobody(self) -> None:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', _SCRIPT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        ended = 'TimeLimitExceeded: it did not end within 0.5 seconds'
        again = (
            'TimeLimitExceeded: it is not asked again, since it did '
            'not end before'
        )
        self.assertEqual(
            [
                f'age; loops: {ended}; sleeps: {ended}',
                f'age; loops: {again}; sleeps: {again}',
            ],
            done.stdout.splitlines(),
        )
