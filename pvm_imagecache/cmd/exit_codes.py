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

"""Exit codes of the commands."""

from typing import Final

#: An operation failed, was refused, or was only partly carried out.
FAILURE: Final = 1
#: The command line is invalid.
USAGE: Final = 2
#: SIGINT ended the command.
INTERRUPTED: Final = 130
#: The reader of the standard output closed it.
BROKEN_PIPE: Final = 141
