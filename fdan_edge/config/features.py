"""The settings of what a network gets: log-mels of windows, and faces. A part of the group data."""

from __future__ import annotations

from dataclasses import dataclass

from fdan_edge.config.setting import Settings, setting
from fdan_edge.errors import ConfigError


@dataclass(frozen=True)
class FeatureSettings(Settings):
    """The log-mel front end and the faces' pixels."""

    sample_rate: int = setting(16000, "Hz", low=4000, high=96000)
    n_fft: int = setting(1024, "length of the DFT and its window in samples", low=64, high=8192)
    hop: int = setting(256, "step between frames in samples", low=16, high=8192)
    n_mels: int = setting(128, "mel bands", low=8, high=512)
    window_seconds: float = setting(3.0, "length of what the network gets at once", low=0.1, high=60)
    window_hop_seconds: float = setting(1.5, "step between the windows of a longer file", low=0.05, high=60)
    trim_db: float = setting(
        40.0, "ends that are quieter than this below the loudest frame are cut; 0: keep all", low=0, high=200
    )
    high_pass: float = setting(
        80.0,
        "Hz below which sound is stopped before anything else, in training and at run time: constant offsets of "
        "microphones, hum of the mains, rumble; 0: nothing is stopped",
        low=0,
        high=400,
    )
    dynamic_range: float = setting(
        80.0,
        "dB of a window's log-mel: what is further below its loudest point is raised to there, so that the noise "
        "of quiet rooms, and of weak signals in 16 bits, does not count",
        low=20,
        high=80,
    )
    level: str = setting(
        "peak",
        "what 0 dB is: peak, each window's loudest point; speech, 27 dB above the mean power of its speech, so "
        "that clicks do not matter; none, 20 dB below full scale, so that loudness counts",
        choices=("peak", "speech", "none"),
    )
    channel: str = setting(
        "none",
        "window: the mean spectrum of each window becomes that of average speech, in the exported graph too; "
        "match: training speech gets the mean spectrum of the corpus that is adapted to, the graph is "
        "as with none",
        choices=("none", "window", "match"),
    )
    face_size: int = setting(96, "height and width of the faces in pixels", low=32, high=1024)
    video_frames: int = setting(
        3, "frames that are taken from each video, at the middles of as many equal parts", low=1, high=64
    )

    def check(self) -> None:
        """Check the lengths of frames and windows against their steps."""
        super().check()
        if 0 < self.high_pass < 10:  # as in `runtime.model_spec`: such a filter would remember seconds
            raise ConfigError(f"high_pass = {self.high_pass:g}: valid are 0 (no filter) and 10 to 400 Hz")
        if self.hop > self.n_fft:
            raise ConfigError(f"hop = {self.hop} is longer than n_fft = {self.n_fft} samples")
        if self.window_hop_seconds > self.window_seconds:
            raise ConfigError(
                f"window_hop_seconds = {self.window_hop_seconds:g} leaves gaps between windows of "
                f"window_seconds = {self.window_seconds:g}"
            )

    @property
    def window(self) -> int:
        """Length of one window in samples."""
        return round(self.window_seconds * self.sample_rate)

    @property
    def window_hop(self) -> int:
        """Step between windows in samples."""
        return round(self.window_hop_seconds * self.sample_rate)

    @property
    def frames(self) -> int:
        """Frames of one window's log-mel."""
        return 1 + self.window // self.hop
