"""From navigator.gpu to a BrowserDevice, or one sentence why there is none."""

from collections.abc import Sequence
from typing import Any

import js  # type: ignore[import-not-found]
from pyodide.ffi import JsException  # type: ignore[import-not-found]

from voxtral.browser.device import BrowserDevice
from voxtral.browser.values import first_line, to_object
from voxtral.errors import DeviceError
from voxtral.gpu.device import NEEDED_LIMITS, PACKED_DOT, WANTED_FEATURES, AdapterInfo, Limits, require_limits

SOFTWARE_NAMES = ("swiftshader", "llvmpipe", "lavapipe", "software", "basic render")


async def open_browser(replay: Any, default_limits: bool = False) -> BrowserDevice:
    """A device on the browser's GPU; `replay` is the function of app/tape.js.

    default_limits: ask for no more than every WebGPU adapter grants, and no optional feature.

    Raises DeviceError: no WebGPU, no adapter, one below WebGPU's defaults, or one that gives no device.
    """
    gpu = getattr(js.navigator, "gpu", None)
    if not gpu:
        raise DeviceError("this browser offers no WebGPU; a current Chrome or Edge, Safari 26 or Firefox 145 does")
    try:
        adapter = await gpu.requestAdapter(to_object({"powerPreference": "high-performance"}))
    except JsException as error:
        raise DeviceError(f"the browser found no GPU ({first_line(error)}); restart the browser") from error
    if not adapter:
        raise DeviceError("the browser found no GPU that WebGPU may use; check that hardware acceleration is on")
    granted = adapter.limits
    name = _adapter_info(adapter, []).name
    require_limits(name, {limit: getattr(granted, limit) for limit in NEEDED_LIMITS})
    limits = Limits()
    features: list[str] = []
    language: list[str] = []
    if not default_limits:
        features = [feature for feature in WANTED_FEATURES if adapter.features.has(feature)]
        language_features = getattr(js.navigator.gpu, "wgslLanguageFeatures", None)
        if language_features and language_features.has(PACKED_DOT):
            language = [PACKED_DOT]
        limits = Limits(
            max_buffer_size=granted.maxBufferSize,
            max_storage_buffer_binding_size=granted.maxStorageBufferBindingSize,
        )
    required = {
        "maxBufferSize": limits.max_buffer_size,
        "maxStorageBufferBindingSize": limits.max_storage_buffer_binding_size,
    }
    try:
        device = await adapter.requestDevice(to_object({"requiredLimits": required, "requiredFeatures": features}))
    except JsException as error:
        sentence = f"{name} gave no WebGPU device ({first_line(error)}); restart the browser, or update it"
        raise DeviceError(sentence) from error
    return BrowserDevice(device, _adapter_info(adapter, [*features, *language]), limits, replay)


def _adapter_info(adapter: Any, features: Sequence[str]) -> AdapterInfo:
    info = adapter.info
    words = [info.vendor, info.architecture, info.device, info.description]
    full_name = " ".join(words).lower()
    is_software = bool(getattr(info, "isFallbackAdapter", False)) or any(name in full_name for name in SOFTWARE_NAMES)
    name = info.description or " ".join(word for word in words[:3] if word) or "WebGPU adapter"
    sizes = [getattr(info, f"subgroup{end}Size", 0) for end in ("Min", "Max")]
    subgroup_size = sizes[0] if sizes[0] == sizes[1] else 0
    return AdapterInfo(name, "WebGPU", is_software, frozenset(features), subgroup_size)
