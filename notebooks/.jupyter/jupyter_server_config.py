# Read by the server that `make lab` starts, and by no other.
from iskit.pages.saved import keep_shown

c = get_config()  # noqa: F821  the server's
c.ContentsManager.pre_save_hook = keep_shown
