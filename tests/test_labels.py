"""Label maps of a loop, read chunk by chunk from a real spool."""

import gc
import weakref
from pathlib import Path

from appliance.spool import Spool
from tests.labelled import maps_of


def test_label_maps_are_freed_with_their_last_user(tmp_path: Path) -> None:
    maps = maps_of(Spool(tmp_path), frames=2)
    maps.frame(0)
    whole = weakref.ref(maps)
    gc.disable()  # a cycle would wait for it, with megabytes in hand
    try:
        del maps
        assert whole() is None
    finally:
        gc.enable()
