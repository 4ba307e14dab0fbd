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

Without arguments, everything of tox.ini's envlist runs, in three steps: the
environments are made, what keeps one core busy runs side by side, and the
tests, which use all cores by themselves, run one after the other.
"""

import configparser
import os
import re
import subprocess
import sys

import environment

VENV = environment.ROOT / '.venv'
#: The line with which stestr sums up a run.
_PASSED = re.compile(r'^ - (Passed|Skipped|Failed): (\d+)$')
#: What keeps one core busy.
_SINGLE = ('pep8', 'mypy', 'docs', 'releasenotes', 'examples')


def main() -> int:
    """Run tox, and sum up what its test runs have counted."""
    environment.check_python()
    python = environment.prepare(VENV, ['tox>=4.28'], 'tox')
    counts = {'Passed': 0, 'Failed': 0, 'Skipped': 0}
    steps = [['run', *sys.argv[1:]]] if sys.argv[1:] else _steps()
    codes = [_run(python, step, counts) for step in steps]
    print(
        f'Tests: {counts["Passed"]} passed, {counts["Failed"]} failed, '
        f'{counts["Skipped"]} skipped'
    )
    return max(codes)


def _steps() -> list[list[str]]:
    """Return the arguments of tox for each step of a whole run."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(environment.ROOT / 'tox.ini')
    names = tox['tox']['envlist'].split(',')
    parallel = ['run-parallel', '--parallel', 'auto', '--parallel-live', '-e']
    return [
        [*parallel, ','.join(names), '--notest'],
        [*parallel, ','.join(name for name in names if name in _SINGLE)],
        ['run', '-e', ','.join(n for n in names if n not in _SINGLE)],
    ]


def _run(python: str, arguments: list[str], counts: dict[str, int]) -> int:
    """Run tox once, and add what its test runs have counted.

    :param python: with tox.
    :param arguments: of tox.
    :param counts: by the word that stestr prints; changed.
    :returns: the exit status; negative ones, of signals, as 1.
    """
    print('$ tox', *arguments, flush=True)
    tox = subprocess.Popen(
        [python, '-m', 'tox', *arguments],
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
    return code if code >= 0 else 1


if __name__ == '__main__':
    sys.exit(main())
