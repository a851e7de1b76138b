"""Serve the sample figures by hand: `python tests/lab/server/serve_samples.py [PORT]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

if __name__ == "__main__":
    from poise.lab.server.lab import Lab
    from poise.lab.server.serve import Server, serve_here

    serve_here(Server(Lab(source="sample_shelf"), int(sys.argv[1]) if len(sys.argv) > 1 else 0), "/", browser=False)
