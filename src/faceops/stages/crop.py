"""Stage crop: from accepted photos to one array of aligned faces and its index."""

import numpy as np
import pyarrow.parquet as pq

from faceops.base.work import usable_cpus
from faceops.dataset.data_folder import read_manifest
from faceops.faces.contact_sheets import draw_contact_sheet, write_sheet
from faceops.faces.crop_photos import CropSettings, crop_photos
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.photos.formats import PhotoLimits
from faceops.stages import CROPPED, CROPS, DATA, MANIFEST, run_stage, stage_params
from faceops.weights import weight_path


def main() -> None:
    """Read build/validate/manifest.parquet and the photos under data/; write build/crop/."""
    params = stage_params()
    limits = PhotoLimits(
        max_pixels=int(params.validate_.max_megapixels * 1e6),
        max_bytes=int(params.validate_.max_megabytes * 1e6),
        min_side=params.validate_.min_side,
    )
    of_detector = {"detector_size", "detector_threshold"}
    settings = CropSettings(**params.crop.model_dump(exclude=of_detector), limits=limits)
    detector = Detector(
        with_symbolic_size(weight_path("yunet").read_bytes()),
        params.crop.detector_size,
        params.crop.detector_threshold,
    )
    finder = FaceFinder(detector, LandmarkRefiner(weight_path("onet")))
    out, manifest = CROPS.parent, read_manifest(MANIFEST)
    accepted, reasons = crop_photos(manifest, DATA, out, finder, settings, usable_cpus())
    crops = np.load(CROPS, mmap_mode="r")
    sheet = draw_contact_sheet(pq.read_table(CROPPED), crops, DATA, limits)
    write_sheet(sheet, out / "contact_sheet.png")
    rejected = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    print(f"crop: {accepted} faces kept" + (f"; rejected: {rejected}" if rejected else ""))


if __name__ == "__main__":
    run_stage(main)
