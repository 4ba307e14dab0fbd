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

"""Access to the platform of a volume group, to measure it."""

from collections.abc import Sequence
import contextlib
import http
from importlib import metadata
from typing import Any
from typing import TYPE_CHECKING

from oslo_utils import units
from pypowervm import util as pvm_util
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import platform_access
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.localdisk import changes
from pvm_imagecache.drivers.localdisk import vg_document
from pvm_imagecache.drivers.localdisk import volume_group

if TYPE_CHECKING:
    from collections.abc import Callable

#: What pypowervm and the REST API say if the version is not known.
_UNKNOWN = ('', 'Unknown')
_SERVERS = {'PVM': 'NovaLink'}


class VolumeGroupAccess(platform_access.PlatformAccess):
    """The platform of one volume group.

    :param adapters: the session with PowerVM.
    :param group: the volume group.
    :param driver_of: returns the driver of another volume group.
    """

    def __init__(
        self,
        adapters: powervm.AdapterSource,
        group: volume_group.VolumeGroup,
        driver_of: 'Callable[[Any], base.DiskDriver]',
    ) -> None:
        self._adapters = adapters
        self._group = group
        self._driver_of = driver_of

    def levels(self) -> platform_access.Levels:
        session = self._adapters().session
        version = session.schema_version or ''
        if version:
            server = _SERVERS.get(session.mc_type, session.mc_type)
            version = f'{server} REST API {version}'
        vios = self._group.vios_level
        return platform_access.Levels(
            platform=version,
            vios='' if vios in _UNKNOWN else vios,
            pypowervm=metadata.version('pypowervm'),
        )

    def logical_volume_limit(self) -> int | None:
        return self._group.read().max_disks

    def prepare(
        self, new: Sequence[base.NewDisk], source: base.Disk | None = None
    ) -> platform_access.Update:
        return _Update(self._adapters, self._group, new, source)

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        return self._group.exclusive()

    def is_conflict(self, error: exceptions.PowerVMError) -> bool:
        return isinstance(
            error, exceptions.PowerVMRequestFailed
        ) and powervm.status_of(error) in (
            http.HTTPStatus.PRECONDITION_FAILED,
            http.HTTPStatus.CONFLICT,
        )

    def sibling(self, name: str) -> base.DiskDriver:
        return self._sibling(lambda each: bool(each.name == name), name)

    def sibling_with_id(self, pool: str) -> base.DiskDriver:
        def is_one(group: Any) -> bool:
            return bool(group.uuid.lower() == pool.lower())

        try:
            return self._sibling(is_one, pool)
        except exceptions.VolumeGroupNotFound:
            self._check_gone(is_one)
            raise

    def _check_gone(self, is_one: 'Callable[[Any], bool]') -> None:
        """Raise an error unless no VIOS of the host has a volume group."""
        adapter = self._adapters()
        with self._adapters.translated('list the Virtual I/O Servers'):
            servers = list(pvm_vios.VIOS.get(adapter))
        for server in servers:
            with self._adapters.translated(
                f'list the volume groups of Virtual I/O Server {server.name}'
            ):
                groups = list(pvm_storage.VG.get(adapter, parent=server))
            for group in groups:
                if is_one(group):
                    raise exceptions.VolumeGroupElsewhere(
                        name=group.name, vios=server.name
                    )

    def _sibling(
        self, is_one: 'Callable[[Any], bool]', what: str
    ) -> base.DiskDriver:
        adapter = self._adapters()

        def get() -> Any:
            with self._adapters.translated('list the volume groups'):
                return pvm_storage.VG.get(
                    adapter,
                    parent_type=pvm_vios.VIOS.schema_type,
                    parent_uuid=self._group.vios_uuid,
                )

        groups = list(powervm.retry_read(get))
        for each in groups:
            if is_one(each):
                return self._driver_of(each)
        raise exceptions.VolumeGroupNotFound(
            name=what,
            where=' on the Virtual I/O Server',
            known=', '.join(sorted(each.name for each in groups)),
        )


class _Update(platform_access.Update):
    """An update of a volume group that creates disks."""

    def __init__(
        self,
        adapters: powervm.AdapterSource,
        group: volume_group.VolumeGroup,
        new: Sequence[base.NewDisk],
        source: base.Disk | None,
    ) -> None:
        self._adapters = adapters
        self._group = group
        self._new = new
        self._timeout = adapters.connection.timeout
        if source:
            self._timeout = max(self._timeout, int(volume_group.COPY_TIMEOUT))
        document = group.read()
        self._before = document.udids
        self._wrapper = document.wrapper
        self.etag = str(self._wrapper.etag or '')
        self.free = document.free
        for each in new:
            document.append(
                pvm_storage.VDisk.bld(
                    adapters(),
                    each.name,
                    _in_gib(each.size),
                    label=each.label,
                    base_image=source.udid if source else None,
                    file_format=each.file_format,
                )
            )

    def send(self, etag: str | None = None) -> list[base.Disk]:
        wrapper = self._wrapper
        with self._adapters.translated(
            f'change volume group {self._group.name}'
        ):
            answer = self._adapters().update_by_path(
                wrapper,
                self.etag if etag is None else etag,
                pvm_util.dice_href(wrapper.href, include_fragment=False),
                timeout=self._timeout,
                # The one of pypowervm repeats requests of a busy VIOS.
                helpers=[],
            )
            after = vg_document.Document(wrapper.wrap(answer))
        return [
            changes.created(after, each, self._before) for each in self._new
        ]


def _in_gib(size: int) -> int | float:
    """Return a size as the REST API wants it: no fraction without need."""
    whole, rest = divmod(size, units.Gi)
    return whole if not rest else size / units.Gi
