"""What a function's process and whoever starts it agree on: the words on both sides of that line.

The dispatcher writes some of them into app definitions, the engine acts on others, and the runner
reads them. The runner travels without this module: what it imports from here is put in its place
when the runner is linked, so these are plain constants. Apps that are stored keep the words they
were made with, so none of these may change its value.
"""

# The group of all apps that are functions; other apps of the same Marathon are never touched.
GROUP = "/fob-aviary"

# The command of a function's app. FOB_FUNCTION holds base64 of zlib's format (RFC 1950) of the
# linked runner, a NUL byte and the snippet. It is compared character by character: an app with this
# very command can be forked from a zygote that holds the runner already.
COMMAND = (
    "exec python3 -I -S -c 'import os,zlib,binascii;"
    'r,_,s=zlib.decompress(binascii.a2b_base64(os.environ.pop("FOB_FUNCTION"))).partition(b"\\0");'
    'exec(compile(r,"runner.py","exec"),{"__name__":"__main__","SNIPPET":s})\''
)
FUNCTION = "FOB_FUNCTION"
# of the unpacked value: what is larger was not packed by fob
MAX_UNPACKED_BYTES = 4 * 2**20

# What the user said about the function, in its app's env
ENTRY = "FOB_ENTRY"
TIMEOUT = "FOB_TIMEOUT"  # seconds per call
CONCURRENCY = "FOB_CONCURRENCY"  # calls at once per instance
CORS = "FOB_CORS"
REQUIREMENTS = "FOB_REQUIREMENTS"  # one per line
REQUIRES_PYTHON = "FOB_REQUIRES_PYTHON"
# Where those requirements are installed; the engine sets it, elsewhere the runner installs them.
SITE_PACKAGES = "FOB_SITE_PACKAGES"

# Labels of the app; KEEP_ALIVE is also the variable that tells a function on demand the seconds
ACTIVATION = "FOB_ACTIVATION"
KEEP_ALIVE = "FOB_KEEP_ALIVE"

# Inherited descriptors, by number: the listening socket, the pipe for marks, the engine's folder
# (where IDLE_SOCKET is), and the connections that were open when the function last went idle.
LISTEN_FD = "FOB_LISTEN_FD"
NOTIFY_FD = "FOB_NOTIFY_FD"
IDLE_FD = "FOB_REST_FD"
KEPT_FD = "FOB_KEPT_FD_"  # and a number

# The idle datagram: a function that goes idle sends its task's id to this socket, with descriptors:
# a socket for the reply, its listening socket, and its open connections. The reply means that the
# engine has them; a socket closed without it, that the function has to go on.
IDLE_SOCKET = "rest"
IDLE_REPLY = b"rest"

# Marks of an instance's timeline, in the order in which the runner makes them.
RUNNER_UP, IMPORTED, LISTENING, FIRST_CALL = "runner_up", "imported", "listening", "first_call"

# Exit codes of the runner. After BAD_IMPORT and NO_CALLABLE another try would end the same.
BAD_START, BAD_IMPORT, NO_CALLABLE, STUCK, BROKEN = 2, 3, 4, 5, 70
PERMANENT_FAILURES = (BAD_IMPORT, NO_CALLABLE)
