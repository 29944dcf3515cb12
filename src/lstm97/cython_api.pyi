# Python has no use for this module: what it offers is declared in cython_api.pxd.

__pyx_capi__: dict[str, object]
