"""Parts of the HTTP protocol class: framing of bodies, refusals, time and number limits."""
