"""A process that does nothing but use a processor, for the wake-up floor beside other work. It says when it begins."""

from __future__ import annotations

from transport.link import child_link

if __name__ == "__main__":
    link, *_ = child_link()
    link.send({"busy": True})
    while True:
        pass
