"""The dispatcher's HTTP side: routes, handlers, who may ask, and the calls it passes on."""
