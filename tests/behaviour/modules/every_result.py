"""Every call stops, runs, and gives the result that it gave: two stops."""


def load(view):
    @view.on("/.")
    def run(call):
        return call.run()
