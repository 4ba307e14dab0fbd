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

"""Packages of plugins that are installed for one test."""

import dataclasses
import itertools
import pathlib
import sys
import textwrap

import fixtures

_SERIAL = itertools.count()


@dataclasses.dataclass(frozen=True)
class Distribution:
    """In place of one of ``importlib.metadata``.

    :ivar version: None as in damaged metadata.
    """

    version: str | None

    def locate_file(self, path: str) -> str:
        """Return the same directory for all of them."""
        return path


class Package(fixtures.Fixture):
    """An installed distribution with plugins in one module.

    :param code: source of the module; indented code is dedented.
    :param plugins: by namespace, the attribute of the module by the name of
        the entry point.
    :param name: of the distribution.
    :param version: of the distribution.
    :ivar module: name of the module.
    :ivar root: directory on the path.
    """

    def __init__(
        self,
        code: str,
        plugins: dict[str, dict[str, str]],
        name: str = 'their-package',
        version: str = '1.5',
    ) -> None:
        self.module = f'pvm_imagecache_test_package_{next(_SERIAL)}'
        self._code = code
        self._plugins = plugins
        self._name = name
        self._version = version

    def _setUp(self) -> None:
        self.root = self.useFixture(fixtures.TempDir()).path
        info = pathlib.Path(
            self.root,
            f'{self._name.replace("-", "_")}-{self._version}.dist-info',
        )
        info.mkdir()
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {self._name}\n'
            f'Version: {self._version}\n'
        )
        (info / 'entry_points.txt').write_text(
            ''.join(
                f'[{namespace}]\n'
                + ''.join(
                    f'{name} = {self.module}:{attribute}\n'
                    for name, attribute in names.items()
                )
                for namespace, names in self._plugins.items()
            )
        )
        pathlib.Path(self.root, f'{self.module}.py').write_text(
            textwrap.dedent(self._code)
        )
        self.useFixture(
            fixtures.MonkeyPatch('sys.path', [self.root, *sys.path])
        )
        self.addCleanup(sys.modules.pop, self.module, None)
