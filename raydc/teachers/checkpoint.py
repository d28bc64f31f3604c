"""State dicts as data: read the common forms without running code, match them to a network, write safetensors."""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Mapping
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from raydc.errors import DataError
from raydc.store.faults import clean
from raydc.store.folder import read_url

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts put the state dict, in the order they are tried."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""How torch files begin, new ones and those of before torch 1.6."""
COUNTER = "num_batches_tracked"
SHOWN = 5
META = "raydc"


def read_state(url: str) -> dict[str, torch.Tensor]:
    """Read a state dict from a path, URL or ``package:NAME/PATH``: safetensors, or a torch file that holds no code.

    Raises:
        DataError: missing, not a checkpoint, truncated, or a pickle that would run code.
    """
    data, shown = read_url(url), clean(url)
    return _strip(_unwrap(_parse(data, shown), shown))


def _parse(data: bytes, url: str) -> Any:
    if data[8:9] == b"{":
        try:
            return safetensors.torch.load(data)
        except SafetensorError as error:
            raise DataError(f"'{url}' is a damaged safetensors file: {error}. Fetch it again") from None
    if not data.startswith((ZIP, PICKLE)):
        raise DataError(
            f"'{url}' is neither safetensors nor a torch file: {len(data)} bytes that begin with {data[:16]!r}. "
            "Check that it is the weights themselves and not a page or a pointer to them"
        )
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The rest of torch's text tells how to run the code all the same.
        named = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it asks for {named.group(1)}" if named else "it is a bare pickle"
        raise DataError(
            f"'{url}' is not a plain state dict: reading it would run code of the file ({why}), which raydc never "
            "does. Save only the tensors, as safetensors or torch.save(model.state_dict())"
        ) from None
    except Exception as error:  # damaged bytes make torch's unpickler raise anything from OSError to IndexError
        raise DataError(
            f"'{url}' ({len(data)} bytes) is not a whole torch file: {_line(error)}. Fetch it again"
        ) from None


def _unwrap(tree: Any, url: str) -> dict[str, torch.Tensor]:
    for key in WRAPPERS:
        if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping):
            tree = tree[key]
            break
    if not isinstance(tree, Mapping):
        raise DataError(f"'{url}' holds {type(tree).__name__}, expected a state dict: a mapping of names to tensors")
    strange = [str(k) for k, v in tree.items() if not isinstance(v, torch.Tensor)]
    if strange or not tree:
        raise DataError(f"'{url}' is not a state dict: {_some(strange) or 'nothing'} in it, expected only tensors")
    return {str(k): v for k, v in tree.items()}


def _strip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for prefix in PREFIXES:
        if all(k.startswith(prefix) for k in state):
            state = {k[len(prefix) :]: v for k, v in state.items()}
    return state


def match(
    state: Mapping[str, torch.Tensor],
    module: nn.Module,
    keys: Literal["by_name", "by_order"] = "by_name",
    origin: str = "the checkpoint",
) -> dict[str, torch.Tensor]:
    """Put the tensors of a state dict under the names of ``module``, in its dtypes.

    ``by_order`` takes tensors in order and demands equal shapes, for networks that were renamed. BatchNorm's step
    counters play no part in a frozen network: they are taken where they are found and left alone where not.

    Raises:
        DataError: missing, unexpected or misshapen tensors, the first few by name; a head of other size says so.
    """
    own = module.state_dict()
    theirs, ours = _without_counters(state), _without_counters(own)
    if keys == "by_order":
        if len(theirs) != len(ours):
            raise DataError(
                f"{origin} has {len(theirs)} tensors, the network {len(ours)} (step counters aside), so they cannot be "
                "matched by order. Check the name of the network"
            )
        theirs = dict(zip(ours, theirs.values(), strict=True))
    missing, unexpected = [k for k in ours if k not in theirs], [k for k in theirs if k not in ours]
    if missing or unexpected:
        both = (("missing", missing), ("unexpected", unexpected))
        parts = " and ".join(f"{len(names)} {what} ({_some(names)})" for what, names in both if names)
        raise DataError(
            f"{origin} does not fit the network: {parts} of {len(ours)} tensors. Check the network's name, or use "
            "'keys: by_order' if only the names of tensors differ"
        )
    _same_shapes(theirs, ours, origin)
    counters = {k: state[k] if keys == "by_name" and k in state else v for k, v in own.items() if k.endswith(COUNTER)}
    return {k: (theirs[k] if k in theirs else counters[k]).to(v.dtype) for k, v in own.items()}


def _same_shapes(theirs: Mapping[str, torch.Tensor], ours: Mapping[str, torch.Tensor], origin: str) -> None:
    bad = [k for k in ours if theirs[k].shape != ours[k].shape]
    if not bad:
        return
    heads = {k for k in list(ours)[-2:] if theirs[k].shape[1:] == ours[k].shape[1:]}
    first = bad[0]
    if set(bad) <= heads and theirs[first].dim() and ours[first].dim():
        found, wanted = theirs[first].shape[0], ours[first].shape[0]
        raise DataError(
            f"{origin} has {found} outputs, expected {wanted} classes. Give the names of all {found}, in order, as the "
            "teacher's 'classes', and raydc picks those of the data set by name"
        )
    shown = [f"{k}: {list(theirs[k].shape)} for {list(ours[k].shape)}" for k in bad]
    raise DataError(
        f"{origin} does not fit the network: {len(bad)} of {len(ours)} tensors have another shape ({_some(shown)}). "
        "Check the network's name and options"
    )


def _without_counters(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v for k, v in state.items() if not k.endswith(COUNTER)}


def _line(error: Exception) -> str:
    return str(error).partition(". ")[0].partition("\n")[0] or type(error).__name__


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def pack(tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any] | None = None) -> bytes:
    """Write tensors and a small JSON tree as one safetensors file; the same content gives the same bytes."""
    # Cloned because safetensors refuses tensors that share memory, and tied weights do.
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in sorted(tensors.items())}
    meta = None if numbers is None else {META: json.dumps(numbers, sort_keys=True)}
    return safetensors.torch.save(plain, meta)


def unpack(data: bytes, origin: str = "state") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`pack` wrote. A damaged file is a DataError that names ``origin``."""
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return tensors, json.loads(header.get("__metadata__", {}).get(META, "{}"))
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{origin} is not a whole state file: {error}. Remove it to start from the beginning") from None
