"""The durable study workflow: settle, analyse, write, deliver."""
