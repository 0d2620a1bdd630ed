"""Faces from videos, for training: frames spread over a clip, and the largest face of each."""

from __future__ import annotations

import threading
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdan_edge.audio.video import check_end, opened
from fdan_edge.errors import INSTALL_TRAINING, DataError, MissingDependencyError

if TYPE_CHECKING:
    import cv2
    from av.container import InputContainer

Image = NDArray[np.uint8]  # RGB, (height, width, 3)

MARGIN = 0.1  # of the detected square, added on each side: it cuts off chins and brows
_LONGEST = 640  # pixels of the longer side that faces are looked for in; the crop is of the full frame
_THREAD = threading.local()
_SMALLEST = 0.1  # of the shorter side: the speaker's face is larger, and smaller ones are mostly none


def sample_frames(path: Path, count: int) -> list[Image]:
    """Decode the frames shown at the middles of `count` equal parts of a video, upright, in order.

    The times of all frames are read first, without decoding: headers do not always know the length. A video of
    fewer frames gives each once.

    Returns:
        1 to `count` arrays, uint8, (height, width, 3), RGB.

    Raises:
        DataError: missing, empty, not a video, without pictures, damaged or cut short.
        MissingDependencyError: PyAV is not installed.
    """
    with opened(path) as container:
        times, numbered = _times(path, container)
    length = times[-1] - times[0]
    wanted = {times[bisect_right(times, times[0] + middle) - 1] for middle in middles(length, count)}
    frames: list[Image] = []
    with opened(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            time = number if numbered else frame.pts
            # The packet of a time stamp may give no frame to show: the next one serves.
            if time is not None and wanted and time >= min(wanted):
                frames.append(_upright(frame))
                wanted = {later for later in wanted if later > time}
            if not wanted:
                break
    if not frames:
        raise DataError(f"{path}: none of its frames could be decoded")
    return frames


def middles(length: float, count: int) -> list[float]:
    """Return the middles of `count` equal parts of 0..length."""
    return [(2 * part + 1) * length / (2 * count) for part in range(count)]


def crop_face(frame: Image, size: int) -> Image | None:
    """Cut out the largest face of a frame as a square of size x size pixels; None where there is none.

    Found by OpenCV's Haar cascade for frontal faces. What lies outside of the frame repeats its edge.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    box = find_face(frame)
    if box is None:
        return None
    import cv2

    left, top, side = box
    around = round(side * MARGIN)
    offsets = np.arange(-around, side + around)
    rows = np.clip(top + offsets, 0, frame.shape[0] - 1)
    columns = np.clip(left + offsets, 0, frame.shape[1] - 1)
    square = frame[np.ix_(rows, columns)]
    shrinks = len(offsets) > size
    resized = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def find_face(frame: Image) -> tuple[int, int, int] | None:
    """Find left, top and side, in pixels, of the largest square that the detector takes for a face."""
    detector = _detector()
    import cv2

    scale = min(1.0, _LONGEST / max(frame.shape[:2]))
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    least = max(24, round(min(size) * _SMALLEST))
    squares = detector.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(least, least))
    if not len(squares):
        return None
    # Of equally large ones the upper left one, so that the same frame always gives the same face.
    x, y, side, _ = max(np.asarray(squares).tolist(), key=lambda box: (box[2], -box[1], -box[0]))
    return round(x / scale), round(y / scale), round(side / scale)


def _times(path: Path, container: InputContainer) -> tuple[list[int], bool]:
    """Read the time stamps of all frames, ascending, then that of the end; or the frames' numbers, and true."""
    if not container.streams.video:
        raise DataError(f"{path}: a file without pictures")
    stream = container.streams.video[0]
    # Not the packets, which are as large as the file.
    packets = [(p.pts, p.duration) for p in container.demux(stream) if p.size and not p.is_discard]
    if not packets:
        raise DataError(f"{path}: a video without a single frame")
    stamps = sorted(stamp for stamp, _ in packets if stamp is not None)
    if len(stamps) < len(packets):
        return list(range(len(packets) + 1)), True
    end = stamps[-1] + (packets[-1][1] or (stamps[-1] - stamps[0]) // max(len(stamps) - 1, 1) or 1)
    check_end(path, container, stream, float((end - stamps[0]) * stream.time_base) if stream.time_base else 0.0)
    return [*stamps, end], False


def _upright(frame: Any) -> Image:
    """Return the pixels of a decoded frame, turned as its recorder says."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _detector() -> cv2.CascadeClassifier:
    """Return this thread's detector: it keeps the picture that it works on, so threads cannot share one."""
    if not hasattr(_THREAD, "detector"):
        _THREAD.detector = _new_detector()
    detector: cv2.CascadeClassifier = _THREAD.detector
    return detector


def _new_detector() -> cv2.CascadeClassifier:
    try:
        import cv2
    except ImportError:
        raise MissingDependencyError("opencv-python-headless", "finding faces", INSTALL_TRAINING) from None
    if not hasattr(cv2, "CascadeClassifier"):
        raise MissingDependencyError(
            "OpenCV 4", f"finding faces (not {cv2.__version__})", "pip install 'opencv-python-headless<5'"
        )
    # The cache's threads share the cores already, and OpenCV's own do not survive a fork.
    cv2.setNumThreads(1)
    folder = str(Path(cv2.__file__).parent / "data")
    return cv2.CascadeClassifier(f"{folder}/haarcascade_frontalface_default.xml")
