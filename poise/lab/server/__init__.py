"""The server of `poise lab`: pages and a websocket for this machine's browser; everything is computed in children."""
