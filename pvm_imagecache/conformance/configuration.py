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

"""The configuration of a plugin under test."""

from collections.abc import Mapping
import tempfile

from oslo_config import cfg

from pvm_imagecache.conf import cache
from pvm_imagecache.conf import nova
from pvm_imagecache.conf import types


def configuration(
    options: Mapping[str, Mapping[str, object]] | None = None,
) -> types.Conf:
    """Return a configuration as nova-compute and the commands have it.

    :param options: values by group and option name, as in a configuration
        file. Plugins may register their options afterwards.
    :returns: a new ``ConfigOpts`` with the options of the cache registered.
    """
    conf = cfg.ConfigOpts()
    cache.register(conf)
    nova.register(conf)
    with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
        for group, values in (options or {}).items():
            file.write(f'[{group}]\n')
            file.writelines(
                f'{name} = {value}\n' for name, value in values.items()
            )
        file.flush()
        conf(
            ['--config-file', file.name],
            project='pvm_imagecache',
            default_config_files=[],
            default_config_dirs=[],
        )
    return conf
