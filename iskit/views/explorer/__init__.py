"""All results at once, in one page that opens from disk: a frame of results -> compact JSON -> HTML with its script."""

from iskit.views.explorer.page import Explorer, explore, read

__all__ = ["Explorer", "explore", "read"]
