"""qemu-img create: a raw disk or a fixed VHD, all zeros."""

from __future__ import annotations

from .commands import Call
from .options import key_values, plain_size, take_apart
from .printing import plain_text
from .real import HandOver

IS_SLOW = False


def run(call: Call) -> int:
    words = take_apart(call.words, "f:o:q")
    if len(words.operands) != 2:
        raise HandOver("a new image has a name and a size")
    path, text = words.operands
    size = plain_size(text)
    if size is None:
        raise HandOver(f"the size {text} is not served")
    format_name = words.last("-f") or "raw"
    options = words.options.get("-o", [])

    from .targets import make_output

    output = make_output(plain_text(path), size, format_name, options)
    try:
        output.create()
        output.seal()
        output.publish()
    except BaseException:
        output.abort()
        raise
    if "-q" not in words:
        chosen = key_values(options)
        # In the order in which the format lists them.
        shown = [
            f" {name}={chosen[name]}" for name in ("subformat", "force_size") if name in chosen
        ]
        print(f"Formatting '{path}', fmt={format_name} size={size}{''.join(shown)}")
    return 0
