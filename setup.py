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
import os

import setuptools
from setuptools.command import build_py

#: Lets Python find nova.virt.pvm_imagecache if nova is there. A directory
#: "nova" in the wheel would make "import nova" succeed without nova.
_FINDER = """\
import sys; sys.meta_path.append(type('PVMImageCacheInNova', (), {\
'find_spec': staticmethod(lambda name, path=None, target=None: \
__import__('importlib.util', fromlist=['util']).spec_from_file_location(\
name, __import__('pvm_imagecache').__path__[0] + '/virt/nova_entry.py') \
if name == 'nova.virt.pvm_imagecache' else None)}))
"""
_LEFT_OUT = ('pvm_imagecache.tests', 'nova')


class BuildPy(build_py.build_py):
    """Leaves the tests, with their passwords, out of the wheel."""

    def finalize_options(self):
        super().finalize_options()
        if not self._is_editable():
            self.packages = [
                each
                for each in self.packages or ()
                if not f'{each}.'.startswith(
                    tuple(f'{name}.' for name in _LEFT_OUT)
                )
            ]

    def find_data_files(self, package, src_dir):
        return [
            each
            for each in super().find_data_files(package, src_dir)
            if self._is_editable() or f'{os.sep}tests{os.sep}' not in each
        ]

    def run(self):
        super().run()
        if not self._is_editable():
            os.makedirs(self.build_lib, exist_ok=True)
            with open(self._finder(), 'w', encoding='ascii') as file:
                file.write(_FINDER)

    def get_outputs(self, include_bytecode=1):
        outputs = super().get_outputs(include_bytecode)
        return outputs if self._is_editable() else [*outputs, self._finder()]

    def _is_editable(self):
        return getattr(self, 'editable_mode', False)

    def _finder(self):
        return os.path.join(self.build_lib, 'pvm_imagecache_nova.pth')


# pbr replaces the parameter "cmdclass".
build_py.build_py = BuildPy
setuptools.setup(setup_requires=['pbr>=6.1.1'], pbr=True)
