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

"""Entry point of all options, for the generators of oslo.config."""

from oslo_config import cfg

from pvm_imagecache.conf import access
from pvm_imagecache.conf import age
from pvm_imagecache.conf import compute
from pvm_imagecache.conf import glance
from pvm_imagecache.conf import lru
from pvm_imagecache.conf import watermark


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return all groups with their options.

    :returns: in the order of the group names; the lists are new ones.
    """
    ((group, options),) = compute.list_opts()
    ours = [*options, *access.OPTIONS]
    return sorted(
        [
            *age.list_opts(),
            (group, ours),
            *glance.list_opts(),
            *lru.list_opts(),
            *watermark.list_opts(),
        ],
        key=lambda entry: entry[0].name,
    )
