"""Every call stops, runs, and gives the result that it gave: two stops."""


def load(view):
    @view.on("all")
    def run(call):
        return call.run()
