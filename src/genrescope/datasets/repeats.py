"""Recordings that are known to be in a data set twice.

Conventions
-----------
Pairs of track ids: GTZAN's are `<genre>.<five digits>`, FMA's are numbers without leading zeros.
Both sides of a pair always go to the same side of a split. In a data set that is neither, tracks
that happen to be called so are kept together too, which costs nothing.
"""

from __future__ import annotations

# By number in Sturm 2013, "The GTZAN dataset: its contents, its faults…", and found again as
# identical spectrograms.
GTZAN_REPEATS = (
    ("pop.00067", "pop.00071"),
    ("pop.00054", "pop.00060"),
    ("hiphop.00039", "hiphop.00045"),
    ("hiphop.00076", "hiphop.00078"),
    ("disco.00098", "disco.00099"),
    ("reggae.00081", "reggae.00082"),
    ("reggae.00073", "reggae.00074"),
    ("metal.00034", "metal.00094"),
    *((f"metal.{40 + i:05d}", f"metal.{61 + i:05d}") for i in range(6)),
    ("metal.00058", "rock.00016"),
)

# In FMA-small, found as identical features. 57371 and 72149 differ in their genres.
FMA_REPEATS = (
    ("45102", "51785"),
    ("57371", "72149"),
    ("74348", "86761"),
    ("114212", "115294"),
    ("114222", "115292"),
    ("114223", "115290"),
    ("114235", "125821"),
    ("114236", "125820"),
    ("120470", "133016"),
    ("130170", "130650"),
    ("144933", "145702"),
    ("144938", "145707"),
)

KNOWN_REPEATS = (*GTZAN_REPEATS, *FMA_REPEATS)
