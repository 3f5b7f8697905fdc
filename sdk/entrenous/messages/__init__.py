"""Messages: what falls due some time after an event, who is told of it, and how it is sent and signed."""
