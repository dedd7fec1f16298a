#!/usr/bin/env bash
# Setting a PyAV stream's colorspace to BT.709 labels the file and changes no pixel: frames are still made YUV by BT.601's
# matrix, while every decoder, PyAV and OpenCV among them, now reads BT.709. A red of (220, 40, 30) comes back as
# (236, 56, 27); without the label it comes back right. Who tags the videos of a data set to be correct makes them wrong:
# reformat each frame with dst_colorspace before it is encoded.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q av==18.1.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
"$work/venv/bin/python" - "$work" 2>/dev/null <<'PY'
import sys

import av
import cv2
import numpy as np

COLOURS = np.array([[220, 40, 30], [30, 180, 60], [40, 60, 200]], np.uint8)
BT709, LIMITED = 1, 1


def write(path: str, tagged: bool, reformatted: bool) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        if tagged:
            coder = stream.codec_context
            coder.colorspace, coder.color_range = BT709, LIMITED
            coder.color_primaries, coder.color_trc = BT709, BT709
        for colour in COLOURS:
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), colour, np.uint8), format="rgb24")
            if reformatted:
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read(path: str) -> tuple[np.ndarray, np.ndarray]:
    with av.open(path) as container:
        frames = [frame.to_ndarray(format="rgb24")[32, 32] for frame in container.decode(video=0)]
    video = cv2.VideoCapture(path)
    return np.array(frames), np.array([video.read()[1][32, 32, ::-1] for _ in COLOURS])


print(f"PyAV {av.__version__}, OpenCV {cv2.__version__}: {COLOURS[0].tolist()} as each reads it; largest errors of all")
errors = {}
for tagged, reformatted in ((False, False), (True, False), (True, True)):
    path = f"{sys.argv[1]}/{tagged}{reformatted}.mp4"
    write(path, tagged, reformatted)
    colours = read(path)
    errors[tagged, reformatted] = [int(abs(c.astype(int) - COLOURS).max()) for c in colours]
    print(f"  tagged {tagged}, reformatted {reformatted}: {colours[0][0].tolist()}, {colours[1][0].tolist()};"
          f" {errors[tagged, reformatted]}")
right = max(errors[False, False] + errors[True, True]) < 6
sys.exit(not (right and min(errors[True, False]) > 15))
PY
