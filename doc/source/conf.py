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

"""The manual of pvm_imagecache, for Sphinx."""

import os
import sys

sys.path.insert(0, os.path.abspath('../ext'))

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'oslo_config.sphinxconfiggen',
    'oslo_policy.sphinxext',
    'oslo_policy.sphinxpolicygen',
    'cliff.sphinxext',
    'stevedore.sphinxext',
    'sphinx.ext.autodoc',
    'argparse_options',
    'plugin_contracts',
]

project = 'pvm_imagecache'
copyright = 'the authors of pvm_imagecache'
root_doc = 'index'
exclude_patterns: list[str] = []
pygments_style = 'native'
add_function_parentheses = True
add_module_names = False
# Options begin with two hyphens, not with a dash.
smartquotes = False

# -- openstackdocstheme

html_theme = 'openstackdocs'
html_theme_options = {'display_global_toc_section': True}
openstackdocs_auto_name = False

# -- the sample configuration, written when a build starts

config_generator_config_file = '../../etc/pvm_imagecache/config-generator.conf'
sample_config_basename = '_static/pvm_imagecache'

policy_generator_config_file = '../../etc/pvm_imagecache/policy-generator.conf'
sample_policy_basename = '_static/pvm_imagecache'

# -- the commands; what all of them have in common is described once

autoprogram_cliff_application = 'pvm-imagecache'
autoprogram_cliff_ignored = [
    '--help',
    '--format',
    '--column',
    '--max-width',
    '--fit-width',
    '--print-empty',
    '--prefix',
    '--noindent',
    '--quote',
    '--sort-column',
    '--sort-ascending',
    '--sort-descending',
]

# -- the contracts, as the code has them

autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'

# -- man pages

man_pages = [
    (
        'cli/pvm-imagecache',
        'pvm-imagecache',
        'inspect and manage the image cache of a PowerVM host',
        '',
        1,
    ),
    (
        'cli/pvm-imagecache-status',
        'pvm-imagecache-status',
        'check the image cache of a PowerVM host',
        '',
        1,
    ),
]
