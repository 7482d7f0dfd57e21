"""Every address of the dashboard is photographed by the gallery, or named there with the reason why not."""

from __future__ import annotations

import re

from tests.browser import gallery


def test_every_address_has_a_picture_or_a_reason() -> None:
    known = {page.name for page in gallery.addresses()}
    named = gallery.ACTS | gallery.PARTS | gallery.ALONE.keys() | gallery.VIEWS.keys()
    assert named <= known, f"gone from the URL configuration: {sorted(named - known)}"
    for page in gallery.pages():
        for parameter in re.findall(r"{(\w+)}", page.pattern):
            sources = (gallery.OBJECTS.get(page.name), gallery.OBJECTS.get(page.name.split(":")[0]))
            assert any(source and source[0] == parameter for source in sources), f"{page.name}: where does {parameter} come from?"
