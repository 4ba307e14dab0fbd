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
"""Documents that answer no change of a volume group or Shared Storage Pool."""

from typing import Final

_ATOM: Final = 'http://www.w3.org/2005/Atom'
_UOM: Final = 'http://www.ibm.com/xmlns/systems/power/firmware/uom/mc/2012_10/'
_WEB: Final = 'http://www.ibm.com/xmlns/systems/power/firmware/web/mc/2012_10/'
#: A disk whose size is not a number.
NAN_DISK: Final = (
    '<VirtualDisks><VirtualDisk><DiskCapacity>nan</DiskCapacity>'
    '<DiskLabel/><DiskName>vm1</DiskName>'
    '<UniqueDeviceID>1</UniqueDeviceID></VirtualDisk></VirtualDisks>'
)


def entry(kind: str, children: str = '') -> str:
    """Return an Atom entry whose content is an element.

    :param kind: name of the element.
    :param children: what is in it.
    :returns: the document.
    """
    return _entry(f'<{kind} xmlns="{_UOM}">{children}</{kind}>', '<id>1</id>')


def _entry(content: str, properties: str = '') -> str:
    return (
        f'<entry xmlns="{_ATOM}">{properties}<content>{content}</content>'
        '</entry>'
    )


#: Each is the answer of something else, or a part of an answer.
ANSWERS: Final = (
    '',
    '{}',
    '<html><body>Who are you?<br></body>',
    '<html/>',
    f'<entry xmlns="{_ATOM}"/>',
    f'<feed xmlns="{_ATOM}"/>',
    f'<feed xmlns="{_ATOM}"><entry><id/></entry></feed>',
    _entry(''),
    _entry('text'),
    _entry('<!-- comment -->'),
    _entry('<html xmlns=""/>'),
    entry('ManagedSystem'),
    entry('VolumeGroup'),
    entry('VirtualDisk'),
    entry('LogicalUnit'),
    _entry(f'<VolumeGroup xmlns="{_UOM}"/>'),
    _entry(f'<LogicalUnit xmlns="{_UOM}"/>'),
    _entry(f'<File xmlns="{_WEB}"/>'),
)
