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

"""A second, unrelated PowerVM REST server, for tests.

It shares no code with the simulator and decides otherwise wherever the real
protocol or pypowervm leaves a choice, so that a client which passes against
both depends on neither. On purpose:

* state lives in memory and is gone at exit; a disk is one plain sparse file;
* password logon only; every connection is closed after its answer;
* UUIDs are upper case, XML elements carry a prefix, ETags are quoted strings;
* both VIOSes have a "rootvg" and viosB comes first;
* a POST without If-Match is refused (428), a stale one gets 412;
* half of the disks answer a path as their DiskName, none has a DiskLabel;
* disks come in another order at each answer; an empty VG has no VirtualDisks;
* UDIDs are Base64 and the number inside a freed one is given out again;
* AvailableSize is less than FreeSpace, and is what new disks are held to;
* a File's entry id is not its FileUUID, and the entry has no SELF link.
"""

import argparse
import asyncio
import base64
from collections import abc
import dataclasses
import errno
import hashlib
import http
import json
import math
import os
import random
import re
import signal
import sys
import tempfile
import threading
import traceback
from typing import Any
from urllib import parse
import uuid
from xml.etree import ElementTree
from xml.sax import saxutils
import zlib

ATOM = 'http://www.w3.org/2005/Atom'
MC = 'http://www.ibm.com/xmlns/systems/power/firmware/%s/mc/2012_10/'
META = '<q:Metadata><q:Atom/></q:Metadata>'
GIB = 1 << 30
PIECE = 1 << 20
MAX_FILES = 100
RESERVE_GB = 0.25
Answer = tuple[int, str, dict[str, str]]


class RestError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(eq=False)
class Disk:
    name: str
    number: int
    udid: str
    gb: int
    path: str
    gone: bool = False


@dataclasses.dataclass(eq=False)
class VolumeGroup:
    name: str
    uuid: str
    vios: str
    capacity: int
    version: int = 1
    disks: list[Disk] = dataclasses.field(default_factory=list)
    last_order: list[Disk] = dataclasses.field(default_factory=list)

    @property
    def free(self) -> int:
        return self.capacity - sum(disk.gb for disk in self.disks)

    def shuffled(self) -> list[Disk]:
        order = random.sample(self.disks, len(self.disks))
        if order == self.last_order:
            order = order[1:] + order[:1]
        self.last_order = order
        return order


@dataclasses.dataclass(eq=False)
class Vios:
    name: str
    number: int
    uuid: str
    groups: list[VolumeGroup]

    def disk(self, udid: str) -> Disk | None:
        disks = (disk for group in self.groups for disk in group.disks)
        return next((disk for disk in disks if disk.udid == udid), None)


@dataclasses.dataclass(eq=False)
class File:
    name: str
    vios: Vios
    disk: Disk
    sha256: str
    expected: int | None
    uuid: str
    file_uuid: str
    current: int = 0
    busy: bool = False


class Request:
    """One request; its body is read in pieces, and only on demand."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        lines = head.decode('latin-1').split('\r\n')
        self.method, target, _version = lines[0].split(' ')
        self.path, _mark, query = target.partition('?')
        self.parts = [parse.unquote(p) for p in self.path.split('/')[1:]]
        self.group = parse.parse_qs(query).get('group', [''])[0]
        pairs = (line.partition(':') for line in lines[1:] if line)
        self.headers = {k.lower(): v.strip() for k, _colon, v in pairs}
        self._reader = reader
        self.pieces = self._pieces()

    async def _pieces(self) -> abc.AsyncIterator[bytes]:
        chunked = 'chunked' in self.headers.get('transfer-encoding', '')
        size = int(self.headers.get('content-length', 0))
        while True:
            if chunked:
                line = await self._reader.readuntil(b'\r\n')
                size = last = int(line.partition(b';')[0], 16)
            while size:
                piece = await self._reader.read(min(size, PIECE))
                if not piece:
                    raise EOFError('the client hung up')
                size -= len(piece)
                yield piece
            if chunked:
                await self._reader.readexactly(2)
            if not chunked or not last:
                return

    async def xml(self, service: str, kind: str) -> ElementTree.Element:
        data = [piece async for piece in self.pieces]
        root = ElementTree.fromstring(b''.join(data) or b'<nothing/>')
        if root.tag != f'{{{MC % service}}}{kind}':
            raise RestError(400, f'A {kind} was expected, not {root.tag}.')
        return root


def _text(node: ElementTree.Element, name: str) -> str:
    return node.findtext('{*}' + name, '').strip()


def _uuid() -> str:
    return str(uuid.uuid4()).upper()


def _find(things: list[Any], uid: str, key: str = 'uuid') -> Any:
    for thing in things:
        if getattr(thing, key) == uid.upper():
            return thing
    raise RestError(404, f'Nothing here has the UUID {uid}.')


def _etag(name: str, version: int, group: str) -> str:
    return f'"{name}/{version}/{zlib.crc32(group.encode()):08x}"'


def _els(**values: object) -> str:
    return ''.join(
        f'<q:{name} kb="CUR" kxe="false">'
        f'{saxutils.escape(str(value))}</q:{name}>'
        for name, value in values.items()
        if value is not None
    )


def _list(name: str, *items: str) -> str:
    return (
        f'<q:{name} kb="CUD" kxe="false" schemaVersion="V1_9_0">{META}'
        f'{"".join(items)}</q:{name}>'
    )


def _entry(
    service: str,
    kind: str,
    uid: str,
    body: str,
    href: str = '',
    etag: str = '',
) -> str:
    if href:
        href = f'<link rel="SELF" href={saxutils.quoteattr(href)}/>'
    if etag:
        etag = f'<e:etag xmlns:e="{MC % "uom"}">{etag}</e:etag>'
    mime = f'application/vnd.ibm.powervm.{service}+xml; type={kind}'
    return (
        f'<entry xmlns="{ATOM}"><id>{uid}</id><title>{kind}</title>{href}'
        f'{etag}<content type="{mime}"><q:{kind} xmlns:q="{MC % service}"'
        f' schemaVersion="V1_9_0"><q:Metadata><q:Atom><q:AtomID>{uid}'
        f'</q:AtomID></q:Atom></q:Metadata>{body}</q:{kind}></content>'
        '</entry>'
    )


def _feed(entries: list[str]) -> Answer:
    text = f'<feed xmlns="{ATOM}">{"".join(entries)}</feed>'
    return (200, text, {}) if entries else (204, '', {})


def _one(request: Request, text: str) -> Answer:
    etag = text.partition('</e:etag>')[0].rpartition('>')[2]
    if (request.method, request.headers.get('if-none-match')) == ('GET', etag):
        return 304, '', {'ETag': etag}
    return 200, text, {'ETag': etag}


def _copy(source: str, target: str) -> None:
    """Copy the data of a sparse file, and leave its holes out."""
    with open(source, 'rb') as src, open(target, 'r+b') as dst:
        end = 0
        while end < os.fstat(src.fileno()).st_size:
            try:
                start = os.lseek(src.fileno(), end, os.SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    raise
                return
            end = os.lseek(src.fileno(), start, os.SEEK_HOLE)
            src.seek(start)
            dst.seek(start)
            while src.tell() < end:
                dst.write(src.read(min(PIECE, end - src.tell())))


class Server:
    def __init__(
        self, state_dir: str, user: str, password: str, capacity: int
    ) -> None:
        os.makedirs(state_dir, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix='other_powervm-', dir=state_dir)
        self.credentials = (user, password)
        self.base = ''
        self.sessions: set[str] = set()
        self.files: list[File] = []
        self.log: list[str] = []
        self.serial = 0
        self.lock = asyncio.Lock()
        self.system_uuid = _uuid()
        self.vioses = [
            Vios(
                name,
                number,
                '5' + _uuid()[1:],
                [VolumeGroup(vg, _uuid(), name, capacity) for vg in vgs],
            )
            for name, number, vgs in (
                ('viosB', 3, ['rootvg']),
                ('viosA', 2, ['rootvg', 'cachevg']),
            )
        ]

    async def connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            request = Request(await reader.readuntil(b'\r\n\r\n'), reader)
            status, text, headers = await self._answer(request)
            async for _piece in request.pieces:
                pass  # else closing would reset the client's connection
            body = text.encode()
            headers = {
                'Content-Type': 'application/atom+xml; charset=UTF-8',
                'Content-Length': str(len(body)),
                'X-MC-Type': 'PVM',
                'Connection': 'close',
                **headers,
            }
            if status in (204, 304):
                del headers['Content-Length']
            lines = [
                f'HTTP/1.1 {status} {http.HTTPStatus(status).phrase}',
                *(f'{name}: {value}' for name, value in headers.items()),
            ]
            writer.write('\r\n'.join([*lines, '', '']).encode() + body)
            await writer.drain()
        except (
            EOFError,
            OSError,
            ValueError,
            asyncio.LimitOverrunError,
            asyncio.CancelledError,
        ):
            pass  # gone, no HTTP, or the server ends
        finally:
            writer.close()

    async def _answer(self, request: Request) -> Answer:
        if request.parts[0] == 'other':
            data = {
                'files': len(self.files),
                'log': self.log,
                'disks': [
                    {
                        'name': disk.name,
                        'udid': disk.udid,
                        'vg': vg.name,
                        'vios': vg.vios,
                        'path': disk.path,
                        'size': disk.gb * GIB,
                    }
                    for vios in self.vioses
                    for vg in vios.groups
                    for disk in vg.disks
                ],
            }
            return (
                200,
                json.dumps(data.get(request.parts[1])),
                {'Content-Type': 'application/json'},
            )
        self.log.append(f'{request.method} {request.path}')
        try:
            return await self._route(request, request.group)
        except (EOFError, ConnectionError):
            raise
        except Exception as e:
            status = getattr(e, 'status', 500)
            if not isinstance(e, RestError):
                traceback.print_exc()
            body = _els(
                HTTPStatus=status,
                RequestURI=request.path,
                ReasonCode=http.HTTPStatus(status).phrase,
                Message=str(e) or repr(e),
            )
            return (
                status,
                _entry('web', 'HttpErrorResponse', _uuid(), body),
                {},
            )

    async def _route(self, request: Request, group: str) -> Answer:
        if request.path == '/rest/api/web/Logon' and request.method == 'PUT':
            return await self._logon(request)
        token = request.headers.get('x-api-session', '')
        if token not in self.sessions:
            raise RestError(401, 'The session is not, or no longer, valid.')
        match [request.method, *request.parts[2:]]:
            case ['DELETE', 'web', 'Logon']:
                self.sessions.discard(token)
                return 204, '', {}
            case ['GET', 'uom', 'ManagedSystem']:
                body = _els(State='operating', SystemName='another')
                return _feed(
                    [
                        _entry(
                            'uom',
                            'ManagedSystem',
                            self.system_uuid,
                            body,
                            self._href(
                                group, 'ManagedSystem', self.system_uuid
                            ),
                        )
                    ]
                )
            case ['GET', 'uom', 'VirtualIOServer']:
                return _feed([self._vios(v, group) for v in self.vioses])
            case ['GET', 'uom', 'VirtualIOServer', 'search', what]:
                return _feed(
                    [
                        self._vios(v, group)
                        for v in self.vioses
                        if what == f"(PartitionName=='{v.name}')"
                    ]
                )
            case ['GET', 'uom', 'VirtualIOServer', uid]:
                return _one(
                    request, self._vios(_find(self.vioses, uid), group)
                )
            case ['GET', 'uom', 'VirtualIOServer', uid, 'VolumeGroup']:
                vios = _find(self.vioses, uid)
                return _feed([self._vg(vios, vg, group) for vg in vios.groups])
            case [
                'GET' | 'POST' as method,
                'uom',
                'VirtualIOServer',
                v_uid,
                'VolumeGroup',
                uid,
            ]:
                vios = _find(self.vioses, v_uid)
                vg = _find(vios.groups, uid)
                if method == 'POST':
                    await self._update_vg(request, vios, vg)
                return _one(request, self._vg(vios, vg, group))
            case ['GET', 'web', 'File']:
                return _feed([self._file(file) for file in self.files])
            case ['PUT', 'web', 'File']:
                return 200, self._file(await self._create_file(request)), {}
            case ['PUT', 'web', 'File', 'contents', uid]:
                file = _find(self.files, uid, 'file_uuid')
                await self._upload(request, file)
                return 204, '', {}
            case ['GET', 'web', 'File', uid]:
                return 200, self._file(_find(self.files, uid)), {}
            case ['DELETE', 'web', 'File', uid]:
                self.files.remove(_find(self.files, uid))
                return 204, '', {}
        raise RestError(
            404 if request.method == 'GET' else 405,
            'This server does not do that.',
        )

    async def _logon(self, request: Request) -> Answer:
        root = await request.xml('web', 'LogonRequest')
        password = root.findtext('{*}Password')
        if password is None:
            raise RestError(400, 'Only a logon with password is served.')
        if (_text(root, 'UserID'), password) != self.credentials:
            raise RestError(401, 'The user ID or the password is wrong.')
        token = base64.b64encode(os.urandom(30)).decode()
        self.sessions.add(token)
        body = _els(**{'X-API-Session': token})
        return (
            200,
            (
                f'<q:LogonResponse xmlns:q="{MC % "web"}" schemaVersion='
                f'"V1_9_0">{META}{body}</q:LogonResponse>'
            ),
            {},
        )

    def _href(self, group: str, *parts: str) -> str:
        query = '?group=' + parse.quote(group, ',') if group else ''
        return '/'.join([self.base, 'rest/api/uom', *parts]) + query

    def _vios(self, vios: Vios, group: str) -> str:
        body = _els(
            PartitionID=vios.number,
            PartitionName=vios.name,
            PartitionState='running',
            PartitionUUID=vios.uuid,
            ResourceMonitoringControlState='active',
        )
        return _entry(
            'uom',
            'VirtualIOServer',
            vios.uuid,
            body,
            self._href(group, 'VirtualIOServer', vios.uuid),
            _etag(vios.name, 1, group),
        )

    def _vg(self, vios: Vios, vg: VolumeGroup, group: str) -> str:
        where = ('VirtualIOServer', vios.uuid, 'VolumeGroup', vg.uuid)
        disks = [
            '<q:VirtualDisk schemaVersion="V1_9_0">'
            + META
            + _els(
                DiskCapacity=f'{disk.gb}.000',
                DiskName=disk.name
                if zlib.crc32(disk.name.encode()) % 2
                else '/var/vio/VMLibrary/' + disk.name,
            )
            + f'<q:VolumeGroup rel="related" href="{self._href("", *where)}"/>'
            + _els(
                UniqueDeviceID=disk.udid,
                VirtualDiskType='LogicalVolume',
                MirrorPolicy='strict',
            )
            + '</q:VirtualDisk>'
            for disk in vg.shuffled()
        ]
        body = (
            _els(
                QuorumPolicy='majority',
                AvailableSize=f'{max(vg.free - RESERVE_GB, 0):.2f}',
                FreeSpace=f'{vg.free:.2f}',
                GroupCapacity=f'{vg.capacity:.1f}',
                GroupName=vg.name,
                GroupState='active',
                MinimumAllocationSize=RESERVE_GB,
            )
            + _list('PhysicalVolumes')
            + _els(UniqueDeviceID='04' + vg.uuid)
            + (_list('VirtualDisks', *disks) if disks else '')
            + _list('SnapshotPolicies')
        )
        return _entry(
            'uom',
            'VolumeGroup',
            vg.uuid,
            body,
            self._href(group, *where),
            _etag(vg.name, vg.version, group),
        )

    async def _update_vg(
        self, request: Request, vios: Vios, vg: VolumeGroup
    ) -> None:
        root = await request.xml('uom', 'VolumeGroup')
        async with self.lock:
            match = request.headers.get('if-match')
            if match is None:
                raise RestError(428, 'An update needs an If-Match header.')
            if match != _etag(vg.name, vg.version, request.group):
                raise RestError(412, 'The VolumeGroup changed meanwhile.')
            kept, wanted = self._compare(vios, vg, root)
            made: list[Disk] = []
            try:
                for name, gb, base in wanted:
                    taken = {disk.number for disk in kept + made}
                    number = min(set(range(len(taken) + 1)) - taken)
                    self.serial += 1
                    path = os.path.join(self.dir, f'{self.serial:06}.disk')
                    with open(path, 'xb') as f:
                        f.truncate(gb * GIB)
                    raw = f'LV  {vios.name}>{vg.name}?{number:03}'.encode()
                    udid = '03' + base64.b64encode(raw).decode()
                    made.append(Disk(name, number, udid, gb, path))
                    if base:
                        await asyncio.to_thread(_copy, base.path, path)
            except BaseException:
                for disk in made:
                    os.unlink(disk.path)
                raise
            for disk in set(vg.disks) - set(kept):
                disk.gone = True
                os.unlink(disk.path)
            vg.disks = kept + made
            vg.version += 1

    @staticmethod
    def _compare(
        vios: Vios, vg: VolumeGroup, root: ElementTree.Element
    ) -> tuple[list[Disk], list[tuple[str, int, Disk | None]]]:
        """Tell the disks that stay from (name, GB, base) of new ones."""
        known = {disk.udid: disk for disk in vg.disks}
        kept: list[Disk] = []
        wanted: list[tuple[str, int, Disk | None]] = []
        for node in root.findall('{*}VirtualDisks/{*}VirtualDisk'):
            name = _text(node, 'DiskName').rpartition('/')[2]
            udid = _text(node, 'UniqueDeviceID')
            base_udid = _text(node, 'BaseImage')
            base = vios.disk(base_udid)
            try:
                gb = math.ceil(float(_text(node, 'DiskCapacity')))
            except (ValueError, OverflowError):
                raise RestError(400, f'{name} has no DiskCapacity.') from None
            if udid:
                if udid not in known or known[udid].gb != gb:
                    raise RestError(
                        400,
                        f'{name} (UDID {udid}) is unknown, '
                        'repeated, or to be resized.',
                    )
                kept.append(known.pop(udid))
                continue
            if not re.fullmatch(r'[\w.-]{1,15}', name, re.A) or gb < 1:
                raise RestError(400, f'Bad name or size: {name!r}, {gb} GB.')
            if base_udid and (base is None or base.gb > gb):
                raise RestError(
                    400,
                    f'{base_udid}, the base image of {name},'
                    ' does not exist or is larger.',
                )
            wanted.append((name, gb, base))
        gone = list(known.values())
        names = [
            disk.name
            for group in vios.groups
            for disk in group.disks
            if disk not in gone
        ] + [name for name, _gb, _base in wanted]
        if len(names) > len(set(names)):
            raise RestError(400, 'A logical volume name is already used.')
        if any(base in gone for _name, _gb, base in wanted):
            raise RestError(400, 'A base image is to be deleted.')
        room = vg.free - RESERVE_GB + sum(disk.gb for disk in gone)
        if wanted and sum(gb for _name, gb, _base in wanted) > room:
            raise RestError(500, f'{vg.name} has only {room} GB to allocate.')
        return kept, wanted

    def _file(self, file: File) -> str:
        return _entry(
            'web',
            'File',
            file.uuid,
            _els(
                Filename=file.name,
                InternetMediaType='application/octet-stream',
                FileUUID=file.file_uuid,
                ExpectedFileSizeInBytes=file.expected,
                CurrentFileSizeInBytes=file.current,
                FileEnumType='BROKERED_DISK_IMAGE',
                TargetVirtualIOServerUUID=file.vios.uuid,
                TargetDeviceUniqueDeviceID=file.disk.udid,
            ),
        )

    async def _create_file(self, request: Request) -> File:
        root = await request.xml('web', 'File')
        if len(self.files) >= MAX_FILES:
            raise RestError(500, f'There are {MAX_FILES} Files already.')
        vios = _find(self.vioses, _text(root, 'TargetVirtualIOServerUUID'))
        disk = vios.disk(_text(root, 'TargetDeviceUniqueDeviceID'))
        size = _text(root, 'ExpectedFileSizeInBytes')
        if disk is None or not re.fullmatch('[0-9]*', size):
            raise RestError(400, 'Not a File for a disk of that VIOS.')
        self.files.append(
            File(
                _text(root, 'Filename'),
                vios,
                disk,
                _text(root, 'SHA256').lower(),
                int(size) if size else None,
                _uuid(),
                _uuid(),
            )
        )
        return self.files[-1]

    async def _upload(self, request: Request, file: File) -> None:
        if file.busy or file.disk.gone:
            raise RestError(409, 'This File is in use, or its disk is gone.')
        limit = file.disk.gb * GIB
        digest = hashlib.sha256()
        file.busy, file.current = True, 0
        try:
            with open(file.disk.path, 'r+b') as f:
                async for piece in request.pieces:
                    if file.current + len(piece) > limit:
                        raise RestError(400, 'The disk is too small.')
                    f.write(piece)
                    digest.update(piece)
                    file.current += len(piece)
        finally:
            file.busy = False
        if file.expected not in (None, file.current) or file.sha256 not in (
            '',
            digest.hexdigest(),
        ):
            raise RestError(400, 'The size or the SHA-256 is not as said.')
        if file.disk.gone:
            raise RestError(409, 'The disk was deleted during the upload.')


async def serve(args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(args.state_dir, args.user, args.password, args.capacity)
    listener = await asyncio.start_server(
        server.connection, '127.0.0.1', args.port, limit=PIECE, backlog=256
    )
    port = listener.sockets[0].getsockname()[1]
    server.base = f'http://127.0.0.1:{port}'

    def watch() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    if args.watch_stdin:
        threading.Thread(target=watch, daemon=True).start()
    if args.ready_file:
        with open(args.ready_file + '.new', 'w') as f:
            f.write(server.base)
        os.replace(args.ready_file + '.new', args.ready_file)
    print(f'other_powervm serves {server.base}', flush=True)
    await stop.wait()
    listener.close()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--state-dir', required=True)
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument('--ready-file')
    parser.add_argument('--user', required=True)
    parser.add_argument('--password', required=True)
    parser.add_argument(
        '--capacity',
        type=int,
        default=256,
        help='GB of each volume group (default: 256)',
    )
    parser.add_argument(
        '--watch-stdin',
        action='store_true',
        help='end at the end of standard input',
    )
    asyncio.run(serve(parser.parse_args(argv)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
