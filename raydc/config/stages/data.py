"""The data section: the real data set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raydc.config.base import Name, Positive, Strict


class DataConfig(Strict):
    """A real data set, or only the names of its classes where there are no images."""

    name: Name = "data"
    use: Literal["folders", "webdataset", "digits", "generated", "none"]
    train: str | None = None
    """Class folders: their parent folder. WebDataset: a folder of tars or a brace pattern. Any fsspec URL."""
    validation: str | None = None
    """The same for validation; absent: a seeded part of train is held out."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    classes: str | list[str] | Positive | None = None
    """The label space in order: a URL of a text file with one name a line, a list, or a count."""
    titles: str | None = None
    """What the report calls the classes: the URL of a text file of lines NAME<tab>TITLE; absent: their names."""
    subset: list[str | int] | None = None
    """Keep only these classes, by name or index, and number them anew in this order."""
    label_key: str = "cls"
    """WebDataset: the member that holds the class, ``cls``, or the field of the ``json`` member."""
    train_images: Positive | None = None
    """How many training images there are, where that is known beforehand; `plan` alone asks for it."""
    partial: bool = False
    """Some classes of the label space may have no images here; the teachers know them all the same."""
    images: Positive | None = None
    """Generated images of a class; those that are held out for validation are taken from them."""
    image_size: Positive
    resize: Literal["center_crop", "squish"] = "center_crop"
    """How images of another shape reach ``image_size``: short side then centre crop, or aspect ratio ignored."""
    crop_fraction: float = Field(1.0, gt=0, le=1)
    """With ``center_crop``: the side of the crop over the short side (224/256 = 0.875 is the ImageNet protocol)."""

    @model_validator(mode="after")
    def _complete(self) -> DataConfig:
        if self.use in ("folders", "webdataset") and self.train is None:
            raise ValueError(f"use: {self.use} needs 'train', the URL of the training images")
        if self.use in ("none", "generated") and self.classes is None:
            raise ValueError(f"use: {self.use} needs 'classes': a list, a file of names, or their number")
        if (self.use == "generated") != (self.images is not None):
            raise ValueError("use: generated, and no other, needs 'images', their number in a class")
        if self.use in ("digits", "generated", "none") and (self.train or self.validation):
            raise ValueError(f"use: {self.use} takes no 'train' or 'validation' URL")
        return self
