"""Colours of heat maps, of the drawn pictures and of the page of `./graft try`. Imports nothing."""

# Every eighth of the colour map "inferno" of matplotlib, RGB: its lightness grows with the heat, for all kinds of eyes.
COLOURS = (
    (0, 0, 4),
    (31, 12, 72),
    (85, 15, 109),
    (136, 34, 106),
    (186, 54, 85),
    (227, 89, 51),
    (249, 140, 10),
    (249, 201, 50),
    (252, 255, 164),
)
