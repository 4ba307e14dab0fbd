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

"""Our own package, as a wheel beside nova.

nova loads drivers from its own package, ``nova.virt``, and a part of ours
lies there: only an installation that copies files can put it there, an
editable one can not.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig


def install(checkout: pathlib.Path, directory: pathlib.Path) -> None:
    """Build the wheel of a checkout, and install it here.

    The wheel has no tests, whose servers and images are needed: they are
    copied beside it.

    :param directory: where the wheel is left.
    """
    # In the checkout the build would find, and pack, what earlier builds
    # have left of modules that are gone.
    settings = directory / 'distutils.cfg'
    settings.write_text(f'[build]\nbuild_base = {directory / "build"}\n')
    _pip(
        'wheel',
        '--no-build-isolation',
        '--wheel-dir',
        str(directory),
        str(checkout),
        environment={'DIST_EXTRA_CONFIG': str(settings)},
    )
    wheel = next(directory.glob('*.whl'))
    _pip('install', '--force-reinstall', str(wheel))
    package = pathlib.Path(sysconfig.get_path('purelib'), 'pvm_imagecache')
    tests = package / 'tests'
    shutil.rmtree(tests, ignore_errors=True)
    shutil.copytree(
        checkout / 'pvm_imagecache' / 'tests',
        tests,
        ignore=shutil.ignore_patterns('__pycache__'),
    )


def _pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            '--disable-pip-version-check',
            *arguments,
            '--no-deps',
            '--quiet',
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | (environment or {}),
        check=False,
    )
    if done.returncode:
        sys.exit(f'{done.stdout}\npip {" ".join(arguments)} failed.')
