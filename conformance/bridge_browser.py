"""A browser whose user says yes to everything: it follows where a page sends it.

It is named by path in BROWSER, and starts in no time, since all that it imports is the standard library's.
"""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=10) as page:
    page.read()
