"""Every limit of the server, in one place. None is reached by the lab's own page."""

from __future__ import annotations

__all__: list[str] = []

# ---- what a client may send ----
MESSAGE_BYTES = 64 * 1024  # of a websocket message; the page's own have a few hundred
MESSAGE_DEPTH = 16
MESSAGES_A_SECOND = 50.0  # sustained: a drag sends one for each answer, at most one a screen frame
MESSAGES_AT_ONCE = 100  # on top of that rate, before the connection is read more slowly
MESSAGES_WAITING = 8  # of a connection, until no more is read from it
OPEN_FIGURES = 32  # a connection; the whole chapter has about twenty
HEADER_BYTES = 16 * 1024
HEADER_SECONDS = 10.0  # for the whole head of a request: slower ones are cut
BODY_BYTES = 1024 * 1024
SOCKETS = 128  # open connections of all clients together

# ---- what a client is sent ----
FRAME_SECONDS = 1 / 30  # between two frames of a run
UNREAD_SECONDS = 30.0  # a client that reads nothing for so long is cut
LINGER_SECONDS = 5.0  # to take what was sent before a close

# ---- what the children may use ----
CHILDREN = 3  # that answer sliders; more than the cores of a small machine, as some wait for the disk
JOB_SECONDS = 30.0  # a busy machine takes ten times what an idle one does
EXPORT_FRAMES, EXPORT_BYTES, EXPORT_SECONDS = 2000, 2_000_000, 15.0  # of one file that a page asks for
FILE_SECONDS = 60.0  # after which its child is ended
JOB_BYTES = 1024**3  # of memory, on top of what a fresh child has
OVERTAKEN_SECONDS = 0.3  # a job that nobody waits for any more is ended if it runs longer
STREAMS = 4  # runs that play at the same time, of all clients
STREAM_SECONDS = 120  # of processor time
PAUSED_SECONDS = 600.0  # a paused run that nobody goes on with
REPLY_BYTES = 32 * 1024 * 1024  # of one frame

# ---- what is remembered ----
CODE_SECONDS = 60.0  # an address with its code can be opened once, for so long
REMEMBERED_BYTES = 2 * 1024 * 1024  # of frames, as JSON; as objects they take five times as much
WATCH_SECONDS = 1.0  # between two looks at a study that is open
