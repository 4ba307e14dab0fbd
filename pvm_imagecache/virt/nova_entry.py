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
"""The module that nova loads as ``nova.virt.pvm_imagecache``.

The wheel has no directory ``nova``: it would make ``import nova`` succeed
on hosts without nova. A file in the wheel, see setup.py, lets Python find
this module under that name.
"""

from pvm_imagecache.virt.driver import PowerVMDriver  # noqa: F401, H301
