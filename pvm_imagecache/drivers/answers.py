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
"""What is accepted as an answer of the REST API.

pypowervm reads any number of bytes, and parses any XML. Here an answer has a
bound for its bytes, for the memory that its elements take, and for its depth.
"""

import http.client
from typing import Any
from typing import Final

from lxml import etree
from oslo_utils import units
from pypowervm import const as pvm_const
from pypowervm import exceptions as pvm_exceptions

from pvm_imagecache import exceptions
from pvm_imagecache import text

#: Bytes of a document, and of the description of an error.
MAX_DOCUMENT: Final = 32 << 20
MAX_ERROR: Final = 256 << 10
#: Bytes that are read at a time.
_PIECE: Final = 1 << 20
#: Bytes of memory that a document may take: eight thousand vSCSI mappings.
#: Each tag, and the text after it, begins with "<"; each attribute has a "=".
_MAX_MEMORY: Final = 180 << 20
_BYTES_OF_NODE: Final = 125
_BYTES_OF_COMMENT: Final = 165
_BYTES_OF_ATTRIBUTE: Final = 220
#: Bytes of a character in memory, if one of them is not of ASCII.
_WIDE: Final = 4
#: Declarations of entities are in a document type.
_FORBIDDEN: Final = (b'<!DOCTYPE', b'<!ENTITY')
#: Characters of a value that are shown.
_SHOWN: Final = 40
_ATOM: Final = tuple(
    f'{{{pvm_const.ATOM_NS}}}{name}' for name in ('entry', 'feed')
)


class BadAnswer(pvm_exceptions.Error):
    """Raised if an answer is not one of a PowerVM REST API.

    :param problem: what the answer is, as it follows "the answer".
    :ivar of_change: whether the request changes something, and PowerVM has
        reported success.
    """

    of_change = False


def read(response: Any, limit: int) -> bytes | None:
    """Return the body of an answer.

    :param response: an ``http.client.HTTPResponse``, which bounds the
        lines that it reads.
    :param limit: bytes that are accepted.
    :returns: the body; None if it is longer.
    :raises http.client.IncompleteRead: if the connection ends within it.
    """
    pieces: list[bytes] = []
    left = limit + 1
    while piece := response.read(min(_PIECE, left)):
        pieces.append(piece)
        left -= len(piece)
        if not left:
            return None
    body = b''.join(pieces)
    missing = getattr(response, 'length', None)
    if missing:
        raise http.client.IncompleteRead(body, missing)
    return body


def document(body: bytes, atom: bool) -> str:
    """Return the text of a document that is safe to parse.

    :param body: the bytes of the answer.
    :param atom: whether it must be an Atom feed or entry.
    :returns: the text.
    :raises BadAnswer: if it is not XML of that kind, or too large.
    """
    content = bounded(body)
    parsed(content, atom)
    return content


def bounded(body: bytes) -> str:
    """Return the text of an answer that takes little memory to parse.

    :param body: the bytes of the answer.
    :returns: the text; whether it is XML is not known.
    :raises BadAnswer: if it is too large, has a document type, or is not
        UTF-8.
    """
    _check_size(body)
    try:
        return body.decode('utf-8')
    except UnicodeDecodeError:
        raise BadAnswer('is not XML: it is not UTF-8') from None


def parsed(content: str, atom: bool) -> Any:
    """Return the root element of a document.

    :param content: the text, of :func:`bounded`.
    :param atom: whether it must be an Atom feed or entry.
    :returns: an element of lxml.
    :raises BadAnswer: if it is not XML of that kind, or too deep.
    """
    try:
        root = etree.fromstring(
            content.encode('utf-8'),
            etree.XMLParser(
                # Also if the document declares another encoding.
                encoding='utf-8',
                # It accepts 256 levels of elements; recorded answers have 15.
                huge_tree=False,
                no_network=True,
                resolve_entities=False,
                strip_cdata=False,
            ),
        )
    except etree.LxmlError as error:
        raise BadAnswer(f'is not XML: {_position(error)}') from None
    if atom and root.tag not in _ATOM:
        raise BadAnswer('is neither a feed nor an entry of Atom')
    return root


def size(gib: Any) -> int:
    """Return a size that PowerVM answered in bytes.

    :param gib: the size in GiB, as a number or as text; None and '' are 0.
    :returns: bytes.
    :raises PowerVMError: if it is not a finite number.
    """
    try:
        return round(float(gib or 0) * units.Gi)
    except (ValueError, OverflowError) as error:
        raise exceptions.PowerVMError(
            reason='the answer has a size of '
            f'"{text.printable(str(gib)[:_SHOWN])}" GiB. Check the volume '
            'group or Shared Storage Pool on the VIOS.'
        ) from error


def _check_size(body: bytes) -> None:
    memory = (
        len(body) * (1 if body.isascii() else _WIDE)
        + body.count(b'<') * _BYTES_OF_NODE
        + body.count(b'=') * _BYTES_OF_ATTRIBUTE
    )
    if comments := body.count(b'<!'):
        if any(each in body for each in _FORBIDDEN):
            raise BadAnswer('is not XML of PowerVM: it has a document type')
        memory += comments * (_BYTES_OF_COMMENT - _BYTES_OF_NODE)
    if memory > _MAX_MEMORY:
        raise BadAnswer('has too many elements')


def _position(error: etree.LxmlError) -> str:
    """Return where an error is; its text can repeat what was sent."""
    line, column = getattr(error, 'position', (0, 0))
    return f'error in line {line}, column {column}'
