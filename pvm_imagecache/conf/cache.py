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

"""The options of ``[pvm_imagecache]``.

Those that nova-powervm had in ``[powervm]`` are taken from there too, so
that a nova.conf written for it works as it is.
"""

import copy
import os
from typing import Any
from typing import Final

from oslo_config import cfg
from oslo_config import types

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache',
    title='Image cache for PowerVM',
    help='Where the PowerVM REST API is, which pool holds the disks, and '
    'how images are cached in it.',
)

_OLD_GROUP: Final = 'powervm'


def _was(name: str) -> list[cfg.DeprecatedOpt]:
    return [cfg.DeprecatedOpt(name, group=_OLD_GROUP)]


class AbsolutePath(types.String):
    """A path that means the same for every process."""

    def __call__(self, value: Any) -> Any:
        text = super().__call__(value)
        if text and not os.path.isabs(text):
            raise ValueError(f'"{text}" is no absolute path')
        return text


OPTIONS: Final = [
    cfg.BoolOpt(
        'enabled',
        default=True,
        help='Whether images are cached. Where it is false every deploy '
        'takes its image from Glance, and what the cache still holds '
        'can be purged with the command pvm-imagecache.',
    ),
    cfg.StrOpt(
        'disk_driver',
        default='localdisk',
        deprecated_opts=_was('disk_driver'),
        help='The driver for the disks of instances: the name of an entry '
        'point in pvm_imagecache.drivers. "pvm-imagecache plugin list" '
        'shows those that are installed. localdisk caches images in a '
        'volume group; ssp leaves that to the Shared Storage Pool.',
    ),
    cfg.StrOpt(
        'volume_group_name',
        default='',
        deprecated_opts=_was('volume_group_name'),
        help='For localdisk: the volume group that holds cached images and '
        'disks of instances. It should not be rootvg.',
    ),
    cfg.StrOpt(
        'vios_name',
        help='For localdisk: the Virtual I/O Server that owns the volume '
        'group. Needed only where several have one of that name.',
    ),
    cfg.StrOpt(
        'cluster_name',
        default='',
        deprecated_opts=_was('cluster_name'),
        help='For ssp: the cluster whose Shared Storage Pool holds the '
        'disks. Needed only where there are several.',
    ),
    cfg.ListOpt(
        'eviction_policies',
        default=['age', 'watermark'],
        help='Which policies choose the cached images that are removed by '
        'themselves, in the order in which they are asked: names of '
        'entry points in pvm_imagecache.eviction. Each has its options '
        'in a section of its own. With none, and wherever '
        'remove_unused_base_images in [image_cache] is false, images '
        'stay until an operator removes them, even where a deploy '
        'needs their room.',
    ),
    cfg.IntOpt(
        'minimum_age',
        default=300,
        min=0,
        mutable=True,
        help='For how many seconds after it was cached no policy removes '
        'an image.',
    ),
    cfg.BoolOpt(
        'check_download_permission',
        default=True,
        help='Whether Glance is asked before an image is deployed from the '
        'cache, or from a Shared Storage Pool, for a user of nova, if '
        'that user may download it. It costs one request, for one '
        'byte.',
    ),
    cfg.Opt(
        'state_path',
        type=AbsolutePath(),
        default='/var/lib/nova/pvm_imagecache',
        help='The directory of the catalogue of cached images and of the '
        'locks: an absolute path. It must be on a disk of this host, '
        'and be the same for nova-compute and for the command '
        'pvm-imagecache.',
    ),
    cfg.Opt(
        'metrics_textfile',
        type=AbsolutePath(),
        default='',
        help='A file into which metrics for Prometheus are written at the '
        'end of each pass: an absolute path, in the directory that the '
        'textfile collector of node_exporter reads, with a name that '
        'ends in .prom. The package prometheus_client has to be '
        'installed. Empty for none.',
    ),
    cfg.StrOpt(
        'host',
        default='localhost',
        help='The host of the PowerVM REST API: this one where NovaLink '
        'runs here.',
    ),
    cfg.PortOpt(
        'port',
        help='The port of the PowerVM REST API. By default 12080 for http '
        'and 12443 for https.',
    ),
    cfg.StrOpt(
        'protocol',
        choices=[
            ('http', 'Not encrypted: for NovaLink on this host'),
            ('https', 'For everything else'),
        ],
        help='The protocol of the PowerVM REST API. By default https where '
        'a password is set, else http.',
    ),
    cfg.StrOpt(
        'user', help='The user to log on as. Not needed without a password.'
    ),
    cfg.StrOpt(
        'password',
        secret=True,
        help='The password to log on with. Without one the logon is by a '
        'file that NovaLink writes and only members of the group '
        'pvm_admin can read.',
    ),
    cfg.BoolOpt(
        'verify_tls',
        default=True,
        help='Whether the certificate of the PowerVM REST API is checked at '
        'the logon. pypowervm checks none after that.',
    ),
    cfg.IntOpt(
        'request_timeout',
        default=1200,
        min=1,
        help='For how many seconds a single request to PowerVM may stay '
        'without an answer. Copies of disks are made within a request '
        'and may take an hour in any case.',
    ),
    cfg.IntOpt(
        'stall_timeout',
        default=300,
        min=1,
        help='For how many seconds an upload may take no data before it is '
        'given up.',
    ),
    cfg.IntOpt(
        'fetch_timeout',
        default=600,
        min=1,
        help='For how many seconds a deploy waits for the fetch of the same '
        'image by somebody else when that makes no progress; then it '
        'goes to Glance itself.',
    ),
]


def register(conf: Any) -> None:
    """Register the options with a ConfigOpts; may be done repeatedly."""
    # A ConfigOpts keeps what is overridden in the group itself.
    conf.register_group(copy.deepcopy(GROUP))
    conf.register_opts(OPTIONS, group=GROUP)


def catalog_path(conf: Any) -> str:
    """The file of the catalogue."""
    return os.path.join(conf.pvm_imagecache.state_path, 'catalog.sqlite')


def pool_name(conf: Any) -> str:
    """How a configuration calls its pool: by all that it is found by."""
    options = conf.pvm_imagecache
    return '/'.join(
        (
            options.disk_driver,
            options.host,
            str(options.port or ''),
            options.vios_name or options.cluster_name or '',
            options.volume_group_name,
        )
    )


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """For oslo.config's generator and documentation."""
    return [(GROUP, list(OPTIONS))]
