"""Every call on files, descriptors and sockets becomes a sequence of two, the second the call itself."""


def load(view):
    @view.on("%file", "%desc", "%network")
    def twice(call):
        tid = call.tracee.syscall.gettid()
        assert tid == call.tracee.tid
        return call.run()
