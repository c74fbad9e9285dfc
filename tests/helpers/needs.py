"""Marks of tests that need what not every machine has."""

import pytest

from gluon_bnn.native import library

needs_library = pytest.mark.skipif(not library.available(), reason=str(library.problem()))
