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

"""The scripts of the directory tools, as modules."""

import importlib.util
import pathlib
import sys
import types

_TOOLS = pathlib.Path(__file__).resolve().parents[4] / 'tools'


def load(name: str) -> types.ModuleType:
    """Import a script by its name."""
    spec = importlib.util.spec_from_file_location(
        f'pvm_imagecache_tools_{name}', _TOOLS / f'{name}.py'
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look for the module of a class there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
