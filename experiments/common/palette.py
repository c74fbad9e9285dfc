"""How lines and bars are told apart: Okabe and Ito's colours, which colour-blind people can distinguish, and styles."""

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GRAY = "#999999"

# Keywords of `plot`: neighbours differ in colour, in lightness and in style. Yellow is too pale for a line.
LINES = tuple(
    {"color": color, "linestyle": style}
    for color, style in zip((BLACK, RED, BLUE, ORANGE, GREEN, PURPLE, SKY), ("-", "--", ":", "-.", "-", "--", "-."))
)
