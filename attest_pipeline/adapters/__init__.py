"""One module per outside thing: the only code that knows brokers, engines, files and networks."""
