"""What all sections of a profile have in common: what no setting may be, and paths as people write them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

from fusionseg.pipeline.basics.text import user_path

# Marks a setting that came when results were kept already: at its default it enters no key, so that those are found.
ADDED = "added"
LARGEST_SIDE = 16_384  # px; twice that is as far as OpenCV's maps of positions go
LARGEST_BATCH = 65_536  # more would only be a slip: no machine holds it
# What 64-bit integers and, with room to multiply, 32-bit floating-point numbers hold.
_LARGEST_INTEGER, _FLOATS = 2**63 - 1, (1e-30, 1e30)


class Settings(BaseModel):
    """Base of all sections: unknown keys refused, values never changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def in_keys(self, exclude: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The values that determine a result, JSON-able: all but `exclude` and those that are `ADDED` and as before."""
        fields = type(self).model_fields.items()
        added = {name for name, info in fields if ADDED in info.metadata and getattr(self, name) == info.get_default()}
        return self.model_dump(mode="json", exclude=added | exclude)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and kind in (int, float):
            raise ValueError(f"expected a {'whole ' if kind is int else ''}number")
        return value

    @field_validator("*")
    @classmethod
    def _fits_the_machine(cls, value: Any) -> Any:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and abs(number) > _LARGEST_INTEGER:
                raise ValueError(f"expected at most {_LARGEST_INTEGER}")
            if isinstance(number, float) and number and not _FLOATS[0] <= abs(number) <= _FLOATS[1]:
                raise ValueError(f"expected 0, or a number from {_FLOATS[0]:g} to {_FLOATS[1]:g}")
        return value


# A path as people write it, see `user_path`.
UserPath = Annotated[Path, BeforeValidator(lambda value: str(user_path(value)) if isinstance(value, str) else value)]
