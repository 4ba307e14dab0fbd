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

"""The command that takes disks into the cache which it did not fill."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from pvm_imagecache.cmd import asking
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import formatting


class AdoptImages(base.Lister):
    """Serve images from disks of their name that the cache did not fill.

    Such disks, left by nova-powervm for example, are never served by
    themselves: nothing tells whether they hold all of their image. Adopt
    one only if you know that it does: every later deploy gets its bytes.
    "verify" lists those that there are.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images', metavar='IMAGE', nargs='+',
            help='the id of an image, a unique start of it, or its name')
        asking.add_yes(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        images = [self.app.source.find(each) for each in parsed_args.images]
        if not parsed_args.yes:
            asking.ask(
                'Do these disks hold all bytes of their images, unchanged?',
                [f'{each.id} {each.name}' for each in images],
                'Nothing was adopted.')
        adopted = [self.app.manager.adopt(each) for each in images]
        return ('ID', 'Name', 'Disk', 'Disk Size', 'Result'), [
            (each.image.id, each.image.name, each.disk_name,
             formatting.Size(each.capacity), 'adopted')
            for each in adopted]
