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

"""Options of the cache, in the section ``[pvm_imagecache]``.

Options of nova-powervm in ``[powervm]`` are accepted as well, so that a
nova.conf that was written for nova-powervm works unchanged.
"""

import os
from typing import Any
from typing import Final

from oslo_config import cfg
from oslo_config import types as option_types
from oslo_utils import units

from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache',
    title='Image cache for PowerVM',
    help='Connection to the PowerVM REST API, the pool of disks, and how '
    'images are cached in it.',
)

_OLD_GROUP: Final = 'powervm'


def _was(name: str) -> list[cfg.DeprecatedOpt]:
    return [cfg.DeprecatedOpt(name, group=_OLD_GROUP)]


class AbsolutePath(option_types.String):
    """The type of an option that must be an absolute path, or empty."""

    def __call__(self, value: object) -> Any:
        text = super().__call__(value)
        if text and not os.path.isabs(text):
            raise ValueError(f'"{text}" is not an absolute path')
        return text


class RequiredAbsolutePath(AbsolutePath):
    """The type of an option that must be an absolute path."""

    def __call__(self, value: object) -> Any:
        text = super().__call__(value)
        if not text or '\0' in text or '..' in text.split('/'):
            raise ValueError(
                f'"{text}" is not the absolute path of a directory'
            )
        return text


OPTIONS: Final = [
    cfg.BoolOpt(
        'enabled',
        default=True,
        help="""
Cache images.

If this option is false, every deploy takes its image from Glance. Images
that are still cached can be removed with "pvm-imagecache purge".
""",
    ),
    cfg.StrOpt(
        'disk_driver',
        default='localdisk',
        deprecated_opts=_was('disk_driver'),
        help="""
Driver for the disks of instances.

Possible values:

* localdisk: caches images in a volume group of a Virtual I/O Server
* ssp: uses a Shared Storage Pool, which caches images itself
* The name of any other entry point in pvm_imagecache.drivers.
  "pvm-imagecache plugin list" shows the installed drivers.

Related options:

* volume_group_name and vios_name, for the value localdisk
* cluster_name, for the value ssp
""",
    ),
    cfg.StrOpt(
        'volume_group_name',
        default='',
        deprecated_opts=_was('volume_group_name'),
        help="""
Volume group that contains cached images and instance disks.

Required by the driver localdisk. Do not use rootvg.

Related options:

* disk_driver: this option has an effect only if it is localdisk
* vios_name
""",
    ),
    cfg.StrOpt(
        'vios_name',
        help="""
Virtual I/O Server that owns the volume group.

Required only if several Virtual I/O Servers have a volume group of that
name.

Related options:

* disk_driver: this option has an effect only if it is localdisk
* volume_group_name
""",
    ),
    cfg.StrOpt(
        'cluster_name',
        default='',
        deprecated_opts=_was('cluster_name'),
        help="""
Cluster whose Shared Storage Pool contains the instance disks.

Required only if there are several clusters.

Related options:

* disk_driver: this option has an effect only if it is ssp
""",
    ),
    cfg.BoolOpt(
        'shared_with_nova_powervm',
        default=False,
        help="""
Name images in a Shared Storage Pool as nova-powervm names them, and use the
images that it has stored.

nova-powervm finds an image by its name and its MD5 hash. A user who can
create images can forge an MD5 hash: instances of other users then boot from
an image of that user, or that user reads an image of another project. Set
this option only while hosts of the cluster run nova-powervm, and only if all
users who can create images are trusted.

If this option is false, an image is found by its ID and all its hashes, and
images of nova-powervm are not used.

Related options:

* disk_driver: this option has an effect only if it is ssp
""",
    ),
    cfg.ListOpt(
        'eviction_policies',
        default=['age', 'watermark'],
        help="""
Eviction policies that choose which cached images are removed
automatically, in the order in which they are asked.

If the list is empty, or remove_unused_base_images in the [image_cache]
section is false, only an operator removes images, even if a deploy needs
space.

Possible values:

* age: evicts images that were not used for a given time
* lru: limits the number and the total size of cached images
* watermark: evicts images if the pool fills up
* none: evicts nothing
* The name of any other entry point in pvm_imagecache.eviction.
  "pvm-imagecache plugin list" shows the installed policies.

Related options:

* minimum_age
* The options of each policy, in a section of its own, such as
  [pvm_imagecache_age]
* [image_cache] remove_unused_base_images
""",
    ),
    cfg.IntOpt(
        'minimum_age',
        default=300,
        min=0,
        mutable=True,
        help="""
Time after the fetch of an image during which no policy evicts it.

Unit: seconds

Related options:

* eviction_policies
""",
    ),
    cfg.FloatOpt(
        'max_gib',
        min=1,
        mutable=True,
        help="""
Maximum total size of the disks of cached images.

The size of a disk counts, not that of its image: PowerVM creates disks of at
least 1 GiB. An image that does not fit is cached if the eviction policies
choose enough other images. Otherwise it is written to the disk of the instance
only. If the limit was lowered, a cleanup run evicts the least recently used
images.

If this option is not set, the size is limited by the pool only.

Unit: GiB

Related options:

* eviction_policies: if nothing is evicted automatically, images that exceed
  the limit are not cached
* [pvm_imagecache_lru] max_gib: a limit that applies at cleanup runs only
""",
    ),
    cfg.ListOpt(
        'listeners',
        default=['notifications', 'metrics'],
        help="""
Listeners that receive the events of the cache, in this order.

They are loaded by nova-compute and by the commands. A listener that cannot be
loaded is left out, and an error is logged. "pvm-imagecache plugin list" shows
the installed ones.

Possible values:

* notifications: versioned notifications of nova, see send_notifications
* metrics: a file for Prometheus, see metrics_textfile
* Listeners of other packages
""",
    ),
    cfg.ListOpt(
        'image_properties',
        default=[],
        mutable=True,
        help="""
Properties of Glance images that eviction policies can see.

Their values are recorded in the catalog when an image is fetched, deployed or
prefetched. Project and tags of an image are always recorded. The policies of
pvm_imagecache itself do not use them.

Possible values:

* A list of names of properties, for example os_distro,hw_disk_bus

Related options:

* eviction_policies
""",
    ),
    cfg.BoolOpt(
        'check_download_permission',
        default=True,
        help="""
Ask Glance whether the user of nova has permission to download an image,
before the image is deployed from the cache or from a Shared Storage Pool.

The check is one request for one byte of the image.
""",
    ),
    cfg.BoolOpt(
        'wipe_disks',
        default=False,
        help="""
Write zeros to the part of a disk that follows the image.

A logical volume of a Virtual I/O Server can contain blocks of deleted disks.
Without this option, an instance can read them if its disk is larger than the
image. Set it unless the storage returns zeros for new disks.

Possible values:

* false: nothing is written after the image
* true: base images and downloads are filled with zeros up to the size of the
  disk. Base images that were cached without this option are fetched again. A
  disk that is larger than the base image is downloaded and not copied, since
  the rest of a copy cannot be written. Images in the format qcow2 are
  refused, since zeros cannot follow them.

Related options:

* disk_driver: this option has an effect only if it is localdisk. Disks in a
  Shared Storage Pool are thin and return zeros
""",
    ),
    cfg.Opt(
        'state_path',
        type=RequiredAbsolutePath(),
        default='/var/lib/nova/pvm_imagecache',
        help="""
Directory of the catalog of cached images and of the lock files.

The directory must be on a local file system of this host. nova-compute and
the pvm-imagecache command must use the same directory.

The directory must belong to the user of nova-compute, or be missing below a
directory of that user. It is refused if every user can write to it or to a
directory above it, or if a directory above it belongs to another user than
its owner and root. A group that may write to a directory above it can replace
it: give these permissions to no other group than that of nova-compute.
Commands of root act in it as its owner.

Possible values:

* An absolute path; the last component must not be a symbolic link
""",
    ),
    cfg.Opt(
        'metrics_textfile',
        type=AbsolutePath(),
        default='',
        help="""
File for Prometheus metrics, written at the end of each cleanup run.

The Python package prometheus_client must be installed.

Possible values:

* An absolute path in the directory of the textfile collector of
  node_exporter, with a name that ends in .prom
* An empty string: no metrics are written
""",
    ),
    cfg.StrOpt(
        'host',
        default='localhost',
        help="""
Host name or IP address of the PowerVM REST API.

The default is correct if NovaLink runs on this host.

Related options:

* port
* protocol
""",
    ),
    cfg.PortOpt(
        'port',
        help="""
TCP port of the PowerVM REST API.

If this option is not set, the port is 12080 for http and 12443 for https.

Related options:

* host
* protocol
""",
    ),
    cfg.StrOpt(
        'protocol',
        choices=[
            ('http', 'Not encrypted. Only for NovaLink on this host.'),
            ('https', 'Encrypted.'),
        ],
        help="""
Protocol of the PowerVM REST API.

If this option is not set, the protocol is https if a password is set, and
http otherwise.

Related options:

* password
* verify_tls
""",
    ),
    cfg.StrOpt(
        'user',
        help="""
User name for the PowerVM REST API.

Not required without a password.

Related options:

* password
""",
    ),
    cfg.StrOpt(
        'password',
        secret=True,
        help="""
Password for the PowerVM REST API.

If this option is not set, authentication uses a file of NovaLink, which
only members of the group pvm_admin can read.

Related options:

* user
""",
    ),
    cfg.Opt(
        'token_directory',
        type=AbsolutePath(),
        default='',
        help="""
Directory of the token files of NovaLink, for a logon without password.

The REST API names a file at the logon, and receives its content as the
token. A file is accepted only if it is a regular file with the content of a
token, if root, rest_user or the user of the process owns it, and if no link
leads to it.

Possible values:

* An absolute path: the file must be below this directory
* An empty string: the file must have been written during the logon, in a
  directory of these users to which other users cannot write

Related options:

* password: this option has an effect only if it is not set
* rest_user
""",
    ),
    cfg.StrOpt(
        'rest_user',
        default='root',
        help="""
User of this host that runs the service of the PowerVM REST API.

A logon without password is refused if the process that listens on the port
belongs to another user. The user of the process itself is accepted too.

Possible values:

* The name of a user
* The ID of a user, for example in a container that does not know the name

Related options:

* password: this option has an effect only if it is not set
* token_directory
""",
    ),
    cfg.BoolOpt(
        'verify_tls',
        default=True,
        help="""
Verify the certificate of the PowerVM REST API.

Related options:

* protocol: this option has an effect only if it is https
""",
    ),
    cfg.IntOpt(
        'request_timeout',
        default=1200,
        min=1,
        help="""
Time that a single request to PowerVM may take.

PowerVM copies disks during a request: requests that copy may take at least
one hour, and longer for large disks, whatever this option is. During such a
request, the cache sends small requests to PowerVM. If PowerVM answers none of
them for this time, the connection is closed.

Unit: seconds
""",
    ),
    cfg.IntOpt(
        'stall_timeout',
        default=300,
        min=1,
        help="""
Time without progress after which an upload to a disk is aborted.

Unit: seconds
""",
    ),
    cfg.IntOpt(
        'first_byte_timeout',
        default=600,
        min=1,
        help="""
Time until Glance sends the first byte of the data of an image.

Some stores, such as Cinder, attach a volume before they can read an image.
The option timeout in [glance] limits all other requests to Glance, and the
time between two parts of the data. If it is longer, it applies to the first
byte too.

Unit: seconds

Related options:

* [glance] timeout
* fetch_timeout
""",
    ),
    cfg.IntOpt(
        'min_transfer_rate',
        default=65536,
        min=0,
        help="""
Rate below which the download of an image is aborted.

The mean rate in 60 seconds of waiting for data counts. The time until the
first byte, and the time for which disks are written, do not count. nova tries
another host after such an error.

Unit: bytes per second; 0 disables the limit

Related options:

* first_byte_timeout
* [glance] timeout
""",
    ),
    cfg.IntOpt(
        'fetch_timeout',
        default=900,
        min=1,
        help="""
Time that a deploy waits for another fetch of the same image that makes no
progress.

After that time the deploy downloads the image from Glance itself. A fetch
makes no progress until the first byte arrives: set a longer time than in
first_byte_timeout.

Unit: seconds

Related options:

* first_byte_timeout
""",
    ),
]


def register(conf: types.Conf) -> None:
    """Register the options; may be called repeatedly.

    :param conf: the configuration of the process.
    """
    registration.register(conf, GROUP, OPTIONS)


def catalog_path(conf: types.Conf) -> str:
    """Return the path of the catalog file.

    :param conf: the configuration of the process.
    :returns: an absolute path.
    """
    return os.path.join(conf.pvm_imagecache.state_path, 'catalog.sqlite')


def max_bytes(conf: types.Conf) -> int | None:
    """Return how many bytes the disks of all cached images may have.

    :param conf: the configuration of the process.
    :returns: bytes; None for no limit.
    """
    limit = conf.pvm_imagecache.max_gib
    return None if limit is None else int(limit * units.Gi)


def pool_name(conf: types.Conf) -> str:
    """Key of the pool: driver, host, port, VIOS or cluster, and volume group.

    :param conf: the configuration of the process.
    :returns: these values, with slashes between them.
    """
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
    """Return the options for the generators of oslo.config.

    :returns: the group, and a new list of its options.
    """
    return [(GROUP, list(OPTIONS))]
