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

"""All tests of this checkout: style, types, unit, functional, docs.

The tests run under tox, which is installed into .venv/ of this checkout.
Arguments are given to tox: ``run_tests.py -e py3`` runs the unit tests only.
"""

import os
import re
import subprocess
import sys

import environment

VENV = environment.ROOT / '.venv'
#: The line with which stestr sums up a run.
_PASSED = re.compile(r'^ - (Passed|Skipped|Failed): (\d+)$')


def main() -> int:
    """Run tox, and sum up what its test runs have counted."""
    environment.check_python()
    python = environment.prepare(VENV, ['tox>=4.28'], 'tox')
    counts = {'Passed': 0, 'Failed': 0, 'Skipped': 0}
    tox = subprocess.Popen(
        [python, '-m', 'tox', 'run', *sys.argv[1:]],
        cwd=environment.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {'PY_COLORS': '0'},
    )
    assert tox.stdout is not None
    for line in tox.stdout:
        print(line, end='', flush=True)
        found = _PASSED.match(line.rstrip())
        if found:
            counts[found[1]] += int(found[2])
    code = tox.wait()
    print(
        f'Tests: {counts["Passed"]} passed, {counts["Failed"]} failed, '
        f'{counts["Skipped"]} skipped'
    )
    return code


if __name__ == '__main__':
    sys.exit(main())
