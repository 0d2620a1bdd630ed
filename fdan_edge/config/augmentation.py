"""The settings of what is changed at random in training: SpecAugment's masks (Park et al. 2019), speed, places."""

from __future__ import annotations

from dataclasses import dataclass

from fdan_edge.config.setting import Settings, setting


@dataclass(frozen=True)
class AugmentationSettings(Settings):
    """Masks of the log-mel, and the speed of the voice."""

    masks: int = setting(2, "masks of each kind on a log-mel", low=0, high=20)
    time_mask: float = setting(0.15, "widest time mask, as a share of the frames", low=0, high=1)
    freq_mask: float = setting(0.15, "widest frequency mask, as a share of the mel bands", low=0, high=1)
    speed_perturbation: float = setting(
        0.1, "voices are also played at 1 - s and 1 + s times their speed; 0: only as they are", low=0, high=0.5
    )
    surroundings: int = setting(
        2,
        "copies of each recording that are learned from too: in noise and rooms, over telephones, through codecs, "
        "all at random; 0: none",
        low=0,
        high=20,
    )
    noise: tuple[str, ...] = setting(
        (), "files or folders of noise for half of these copies; noise is generated for the others"
    )
    rooms: tuple[str, ...] = setting(
        (), "files or folders of measured room impulse responses; where there are none, they are generated"
    )
