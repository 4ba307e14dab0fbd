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

"""The driver for logical units of a Shared Storage Pool.

The pool caches images itself: an image logical unit (LU), shared by all hosts
of the cluster, holds the bytes, and instance disks are linked clones of it.
So there are no base images of this project. For the upload of an image LU see
:mod:`~pvm_imagecache.drivers.ssp.image_unit`.
"""

import base64
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import hashlib
import json
import threading
from typing import Any
from typing import Final

from oslo_utils import units
from pypowervm import const as pvm_const
from pypowervm import util as pvm_util
from pypowervm.tasks import storage as pvm_storage_tasks
from pypowervm.wrappers import base_partition as pvm_partition
from pypowervm.wrappers import cluster as pvm_cluster
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.conf import types
from pvm_imagecache.drivers import answers
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.ssp import image_unit

#: On other hosts pypowervm puts a marker before the name and truncates the
#: result, which must not cut the hash at its end.
_MAX_IMAGE_NAME: Final = (
    pvm_const.MaxLen.FILENAME_DEFAULT - image_unit.MARKER_LENGTH
)
#: Bytes of a hash that have no padding in base32: 48 characters.
_IDENTITY_BYTES: Final = 30


class SSPDriver(base.DiskDriver):
    """Logical units in the default tier of a cluster's pool.

    :param adapters: the session with PowerVM.
    :param cluster_name: of the cluster; '' if there is only one.
    :param patience: seconds to wait for another host that uploads an image,
        while no change is seen.
    :param shared_with_nova_powervm: whether images are named as nova-powervm
        names them, see :func:`image_lu_name`.
    """

    api_version = base.API_VERSION
    capabilities = frozenset(
        {base.Capability.OWN_IMAGE_CACHE, base.Capability.SIGNED_IMAGES}
    )
    max_name_length = pvm_const.MaxLen.FILENAME_DEFAULT

    def __init__(
        self,
        adapters: powervm.AdapterSource,
        cluster_name: str,
        patience: float = 600.0,
        *,
        shared_with_nova_powervm: bool = False,
    ) -> None:
        self._adapters = adapters
        self._cluster_name = cluster_name
        self._patience = patience
        self._shared = shared_with_nova_powervm
        self._guard = threading.Lock()
        self._found: tuple[Any, Any] | None = None

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'SSPDriver':
        return cls(
            powervm.AdapterSource(powervm.Connection.from_conf(conf)),
            conf.pvm_imagecache.cluster_name,
            conf.pvm_imagecache.fetch_timeout,
            shared_with_nova_powervm=(
                conf.pvm_imagecache.shared_with_nova_powervm
            ),
        )

    def pool(self) -> base.Pool:
        cluster = self._cluster()
        with self._adapters.translated('read the Shared Storage Pool'):
            pool = pvm_storage.SSP.get_by_href(
                self._adapters(), cluster.ssp_uri
            )
        return base.Pool(
            id=pool.uuid,
            name=pool.name,
            capacity=answers.size(pool.capacity),
            free=answers.size(pool.free_space),
        )

    def pool_id(self) -> str:
        return pvm_util.get_req_path_uuid(
            self._cluster().ssp_uri, preserve_case=True
        )

    def find_disk(self, name: str) -> base.Disk | None:
        found = self._find_unit(name)
        return _disk(found) if found else None

    def delete_disks(self, disks: Sequence[base.Disk]) -> list[base.Deletion]:
        return [self._delete(disk) for disk in disks]

    def create_disk_from_image(
        self,
        image: image_module.Image,
        new: base.NewDisk,
        open_image: base.OpenImage,
    ) -> tuple[base.Disk, bool]:
        if self._find_unit(new.name):
            raise exceptions.DiskExists(name=new.name, pool=self.pool().name)
        feed = _Feed(open_image)
        try:
            with self._adapters.translated(
                f'store image {image.id} in the Shared Storage Pool'
            ):
                unit = image_unit.get_or_upload(
                    self._tier(),
                    image_lu_name(
                        image, shared_with_nova_powervm=self._shared
                    ),
                    self._upload_vios(),
                    feed.open,
                    image.size,
                    self._patience,
                )
                if unit is None:
                    return _disk(
                        image_unit.fill(
                            self._tier(),
                            new.name,
                            new.size,
                            pvm_storage.LUType.DISK,
                            self._upload_vios(),
                            feed.open,
                            image.size,
                        )
                    ), True
        except exceptions.PowerVMError as error:
            # pypowervm loses details of an error that the stream raised.
            if feed.error:
                raise feed.error from error
            _raise_if_full(error, new, image.size)
            raise
        finally:
            feed.close()
        try:
            with self._adapters.translated(f'create disk {new.name}'):
                _, clone = pvm_storage_tasks.crt_lu(
                    self._tier(),
                    new.name,
                    -(-new.size // units.Gi),
                    typ=pvm_storage.LUType.DISK,
                    clone=unit,
                )
        except exceptions.PowerVMError as error:
            _raise_if_full(error, new, new.size)
            raise
        return _disk(clone), feed.opened

    def servers(self) -> Sequence[str]:
        return [each.uuid for each in self._members()]

    def mappable(self, disk: base.Disk) -> Any:
        return pvm_storage.LU.bld_ref(self._adapters(), disk.name, disk.udid)

    def close(self) -> None:
        self._found = None
        self._adapters.close()

    # -- locating the pool

    def _cluster(self) -> Any:
        return self._locate()[0]

    def _tier(self) -> Any:
        return self._locate()[1]

    def _locate(self) -> tuple[Any, Any]:
        with self._guard:
            if self._found is None:
                adapter = self._adapters()
                with self._adapters.translated('find the cluster'):
                    cluster = _choose(
                        pvm_cluster.Cluster.get(adapter), self._cluster_name
                    )
                    pool = pvm_storage.SSP.get_by_href(
                        adapter, cluster.ssp_uri
                    )
                    self._found = (
                        cluster,
                        (pvm_storage_tasks.default_tier_for_ssp(pool)),
                    )
            return self._found

    def _upload_vios(self) -> str:
        return str(self._members()[0].uuid)

    def _members(self) -> list[Any]:
        """Return the active VIOSes of this host in the cluster.

        If none is active, all of them.
        """
        members = {
            node.vios_uuid for node in self._cluster().nodes if node.vios_uri
        }
        with self._adapters.translated('list the Virtual I/O Servers'):
            servers = [
                each
                for each in pvm_vios.VIOS.get(self._adapters())
                if each.uuid in members
            ]
        active = [
            each
            for each in servers
            if each.rmc_state == pvm_partition.RMCState.ACTIVE
        ]
        if not servers:
            raise exceptions.ClusterNotFound(
                reason=f'No Virtual I/O Server of this host is in cluster '
                f'{self._cluster().name}.'
            )
        return active or servers

    def _find_unit(self, name: str) -> Any:
        with self._adapters.translated(f'find disk {name}'):
            found = pvm_storage.LUEnt.search(
                self._adapters(), parent=self._tier(), name=name
            )
        return next(
            (
                each
                for each in found
                if each.lu_type == pvm_storage.LUType.DISK
            ),
            None,
        )

    def _delete(self, disk: base.Disk) -> base.Deletion:
        try:
            unit = self._find_unit(disk.name)
            if unit is not None and unit.udid == disk.udid:
                with self._adapters.translated(f'delete disk {disk.name}'):
                    pvm_storage_tasks.rm_tier_storage(
                        [unit], tier=self._tier()
                    )
                # rm_tier_storage logs a refusal, but does not raise.
                if self._find_unit(disk.name) is not None:
                    raise exceptions.PowerVMRequestFailed(
                        action=f'delete disk {disk.name}',
                        reason='it still exists; see the log of pypowervm '
                        'for the reason',
                    )
        except exceptions.PowerVMError as error:
            return base.Deletion(disk, error)
        return base.Deletion(disk)


class _Feed:
    """The data of an image, opened when pypowervm first reads it.

    Keeps the error that the stream raised, because pypowervm keeps only its
    message.
    """

    def __init__(self, open_image: base.OpenImage) -> None:
        self._open_image = open_image
        self._held = contextlib.ExitStack()
        self.error: Exception | None = None
        self.opened = False

    def open(self) -> Iterator[bytes]:
        try:
            pieces = self._held.enter_context(self._open_image())
        except Exception as error:
            self.error = error
            raise
        self.opened = True
        return self._keeping_errors(pieces)

    def close(self) -> None:
        self._held.close()

    def _keeping_errors(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except Exception as error:
            self.error = error
            raise


def image_lu_name(
    image: image_module.Image, *, shared_with_nova_powervm: bool = False
) -> str:
    """Return the name of the LU that holds an image.

    A unit is found by its name only, so the name contains everything that
    must be equal: the ID of the image, its size, its format, all its hashes,
    and its signature if that must be verified. Different images never share
    a unit, even if their bytes are equal: the hashes of an image are not
    always computed by Glance, and MD5 can be forged.

    The name is ``image_<name>_<identity>``. The identity has a length that
    no MD5 has: a unit of nova-powervm, or of an older release, is never
    taken for one of these.

    :param image: the image, with its signature if other hosts may have
        stored the same image without verifying it.
    :param shared_with_nova_powervm: whether an image with an MD5 and without
        a signature has the name that nova-powervm gives it,
        ``image_<name>_<md5>``. Different images with the same name and MD5
        share a unit then.
    :returns: the name. If it is too long, the name of the image in it is
        truncated.
    :raises ImageNotCacheable: if Glance has no hash of the image.
    """
    if not image.os_hash_value and not image.checksum:
        raise exceptions.ImageNotCacheable(
            image=image.id,
            reason='it has no hash, which identifies images in a Shared '
            'Storage Pool.',
        )
    if shared_with_nova_powervm and image.checksum and _is_unsigned(image):
        identity = image.checksum
    else:
        identity = _identity(image)
    return str(
        pvm_util.sanitize_file_name_for_api(
            image.name or image.id,
            prefix='image_',
            suffix=f'_{identity}',
            max_len=_MAX_IMAGE_NAME,
        )
    )


def _identity(image: image_module.Image) -> str:
    """Return a hash of everything that distinguishes images."""
    facts = (
        image.id,
        image.size,
        image.disk_format,
        image.os_hash_algo,
        image.os_hash_value,
        image.checksum,
        None if _is_unsigned(image) else image.signature.fingerprint,
    )
    digest = hashlib.blake2b(
        json.dumps(facts).encode(), digest_size=_IDENTITY_BYTES
    ).digest()
    return base64.b32encode(digest).decode().lower()


def _is_unsigned(image: image_module.Image) -> bool:
    return bool(image.signature.missing)


def _choose(clusters: Sequence[Any], name: str) -> Any:
    found = [each for each in clusters if not name or each.name == name]
    known = ', '.join(sorted(each.name for each in clusters)) or 'none'
    if not found:
        reason = (
            f'Cluster "{name}" not found. Known clusters: {known}.'
            if name
            else 'No Virtual I/O Server of this host is in a cluster.'
        )
        raise exceptions.ClusterNotFound(reason=reason)
    if len(found) > 1:
        raise exceptions.ClusterNotFound(
            reason=f'There are several clusters: {known}. Set cluster_name '
            'in [pvm_imagecache].'
        )
    return found[0]


def _disk(unit: Any) -> base.Disk:
    return base.Disk(
        name=unit.name,
        udid=unit.udid,
        capacity=answers.size(unit.capacity),
    )


def _raise_if_full(
    error: exceptions.PowerVMError, new: base.NewDisk, needed: int
) -> None:
    powervm.raise_if_full(
        error,
        pool='The Shared Storage Pool',
        needed=needed,
        what=f'disk {new.name}',
    )
