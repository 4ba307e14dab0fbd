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

"""Register options; part of the API for plugin authors."""

from collections.abc import Sequence
import copy

from oslo_config import cfg

from pvm_imagecache.conf import types


def register(
    conf: types.Conf, group: cfg.OptGroup, options: Sequence[cfg.Opt]
) -> None:
    """Register options of one group; may be called repeatedly.

    A plugin calls this in ``from_conf`` before it reads its options::

        registration.register(conf, GROUP, OPTIONS)
        return cls(conf[GROUP.name].keep)

    :param conf: the configuration of the process.
    :param group: the section that contains the options. The object itself is
        not changed and can be used with other configurations.
    :param options: the options of the group.
    :raises oslo_config.cfg.DuplicateOptError: if the group has a different
        option of the same name.
    """
    # A ConfigOpts stores overridden values in the group object itself, and
    # copies that only shallowly.
    conf.register_group(copy.deepcopy(group))
    conf.register_opts(options, group=group.name)
