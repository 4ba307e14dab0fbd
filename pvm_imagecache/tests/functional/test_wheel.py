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
"""What the wheel has, and what it does in an environment of its own."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

from oslotest import base

_ROOT = pathlib.Path(__file__).parents[3]
_COPIED = (
    'pvm_imagecache',
    'nova',
    'pyproject.toml',
    'setup.py',
    'setup.cfg',
    'requirements.txt',
    'README.rst',
    'LICENSE',
)


class WheelTest(base.BaseTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='wheel-'))
        self.addCleanup(shutil.rmtree, self.directory)
        source = self.directory / 'source'
        source.mkdir()
        for name in _COPIED:
            if (_ROOT / name).is_dir():
                shutil.copytree(
                    _ROOT / name,
                    source / name,
                    ignore=shutil.ignore_patterns('__pycache__'),
                )
            else:
                shutil.copy(_ROOT / name, source / name)
        # pbr packs what git knows.
        for command in (['git', 'init', '-q'], ['git', 'add', '-A', '.']):
            subprocess.run(command, cwd=source, check=True)
        built = subprocess.run(
            [
                sys.executable,
                '-c',
                'import pbr.build, sys; pbr.build.build_wheel(sys.argv[1])',
                str(self.directory),
            ],
            cwd=source,
            env={
                'PATH': '/usr/bin:/bin',
                'PBR_VERSION': '1.2.3',
                'SKIP_GENERATE_AUTHORS': '1',
                'SKIP_WRITE_GIT_CHANGELOG': '1',
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if 'No module named' in built.stderr:
            self.skipTest(f'cannot build: {built.stderr.splitlines()[-1]}')
        self.assertEqual(0, built.returncode, built.stderr[-2000:])
        (self.wheel,) = self.directory.glob('*.whl')
        subprocess.run(
            [
                sys.executable,
                '-m',
                'venv',
                '--without-pip',
                str(self.directory / 'venv'),
            ],
            check=True,
        )
        (packages,) = self.directory.glob('venv/lib/python3*/site-packages')
        with zipfile.ZipFile(self.wheel) as archive:
            self.names = archive.namelist()
            archive.extractall(packages)
        self.packages = packages

    def run_python(self, code: str) -> str:
        """Run code in the environment; an error is returned too."""
        done = subprocess.run(
            [str(self.directory / 'venv/bin/python'), '-c', code],
            cwd=self.directory / 'venv',
            env={'PATH': '/usr/bin:/bin'},
            capture_output=True,
            text=True,
            check=False,
        )
        return (done.stdout + done.stderr).strip().splitlines()[-1]

    def test_the_wheel_has_no_tests_and_no_nova(self) -> None:
        self.assertEqual(
            {
                'pvm_imagecache',
                'pvm_imagecache_nova.pth',
                'pvm_imagecache-1.2.3.dist-info',
            },
            {name.partition('/')[0] for name in self.names},
        )
        self.assertFalse([name for name in self.names if '/tests/' in name])
        for name in (
            'fixtures',
            'simulator/__main__',
            'virt/driver',
            'virt/nova_entry',
            'cmd/main',
        ):
            self.assertIn(f'pvm_imagecache/{name}.py', self.names)

    def test_nova_is_found_only_where_it_is(self) -> None:
        self.assertIn("No module named 'nova'", self.run_python('import nova'))
        self.assertIn(
            "No module named 'nova'",
            self.run_python('import nova.virt.pvm_imagecache'),
        )
        for name in ('nova', 'nova/virt'):
            (self.packages / name).mkdir()
            (self.packages / name / '__init__.py').write_text(f'me = "{name}"')
        self.assertEqual(
            'nova nova/virt True',
            self.run_python(
                'import importlib.util, nova.virt\n'
                'spec = importlib.util.find_spec("nova.virt.pvm_imagecache")\n'
                'print(nova.me, nova.virt.me, '
                'spec.origin.endswith("/virt/nova_entry.py"))'
            ),
        )
        self.assertIn(
            "No module named 'nova.virt.other'",
            self.run_python('import nova.virt.other'),
        )
