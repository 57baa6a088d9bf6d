"""List in a bundle the tracks that its model was trained on, by ids and fingerprints.

`genrescope train` does it for every bundle it makes; this is for bundles that were made before::

    python tools/training_tracks.py src/genrescope/bundles/default --data ../shared/data/gtzan-spectrograms
"""  # noqa: E501

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from genrescope.datasets import read_dataset
from genrescope.datasets.fingerprints import TrainingTracks
from genrescope.inference.bundle import Bundle


def main() -> None:
    """Read the bundle and the data set, and write the bundle again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="What the model was trained on.")
    options = parser.parse_args()
    bundle, dataset = Bundle.load(options.bundle), read_dataset(options.data)
    stated = bundle.manifest.provenance.get("data", {}).get("tracks")
    if stated != len(dataset.tracks):
        raise SystemExit(f"trained on {stated} tracks, but {len(dataset.tracks)} are there")
    fields = TrainingTracks.of(dataset.name, dataset.tracks).to_fields()
    manifest = bundle.manifest.model_copy(update={"training_tracks": fields})
    replace(bundle, manifest=manifest).save(options.bundle)


if __name__ == "__main__":
    main()
