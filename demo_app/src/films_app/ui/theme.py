"""How the app looks: colours by role, one accent, a type scale, and an 8-point grid."""

from __future__ import annotations

import flet as ft

SANS = "Inter"
STRONG = "Inter SemiBold"
DISPLAY = "Inter Display"
FALLBACK = ["Noto Sans Devanagari"]
STRONG_FALLBACK = ["Noto Sans Devanagari Bold"]
FONTS = {
    SANS: "/fonts/Inter-Regular.otf",
    STRONG: "/fonts/Inter-SemiBold.otf",
    DISPLAY: "/fonts/InterDisplay-ExtraBold.otf",
    FALLBACK[0]: "/fonts/NotoSansDevanagari-Regular.ttf",
    STRONG_FALLBACK[0]: "/fonts/NotoSansDevanagari-Bold.ttf",
}

# The 8-point grid
HALF, UNIT, MORE, LARGE, HUGE = 4, 8, 16, 24, 32
TOUCH = 48
"""The least width and height of what can be touched."""
CONTENT = 1120
READING = 680
"""The greatest width of a screen of films, and of one of text."""
RADIUS = 12

BACKGROUND = ft.Colors.SURFACE
CARD = ft.Colors.SURFACE_CONTAINER
RAISED = ft.Colors.SURFACE_CONTAINER_HIGH
INK = ft.Colors.ON_SURFACE
QUIET = ft.Colors.ON_SURFACE_VARIANT
ACCENT = ft.Colors.PRIMARY
ON_ACCENT = ft.Colors.ON_PRIMARY
LINE = ft.Colors.OUTLINE_VARIANT
DANGER = ft.Colors.ERROR


DARK = {
    "primary": "#F6B24A",
    "on_primary": "#1C1305",
    "primary_container": "#3A2A0E",
    "on_primary_container": "#FFDFA8",
    "surface": "#0B0B10",
    "surface_container": "#15151D",
    "surface_container_high": "#20202B",
    "on_surface": "#F5F1E9",
    "on_surface_variant": "#A9A6B3",
    "outline": "#6E6B7A",
    "outline_variant": "#2A2A36",
    "error": "#FF8A7A",
    "on_error": "#2B0703",
    "inverse_surface": "#F5F1E9",
    "on_inverse_surface": "#15151D",
    "inverse_primary": "#8A5600",
}
LIGHT = {
    "primary": "#8A5600",
    "on_primary": "#FFFFFF",
    "primary_container": "#FFE3B3",
    "on_primary_container": "#3B2500",
    "surface": "#FBF8F3",
    "surface_container": "#F2EDE4",
    "surface_container_high": "#E8E1D5",
    "on_surface": "#1B1813",
    "on_surface_variant": "#5E5850",
    "outline": "#857E73",
    "outline_variant": "#DDD5C8",
    "error": "#B3261E",
    "on_error": "#FFFFFF",
    "inverse_surface": "#26231D",
    "on_inverse_surface": "#FBF8F3",
    "inverse_primary": "#F6B24A",
}


def theme(colours: dict[str, str], *, calm: bool = False) -> ft.Theme:
    """The toolkit's theme of one set of colours. ``calm``: a screen is there at once, without moving in."""
    moving = ft.PageTransitionTheme.NONE if calm else ft.PageTransitionTheme.FADE_FORWARDS
    strong = ft.TextStyle(font_family=STRONG, font_family_fallback=STRONG_FALLBACK, size=14)
    return ft.Theme(
        color_scheme=ft.ColorScheme(
            **colours,
            surface_tint=ft.Colors.TRANSPARENT,
            secondary_container=colours["primary_container"],
            on_secondary_container=colours["on_primary_container"],
        ),
        font_family=SANS,
        scaffold_bgcolor=colours["surface"],
        splash_color=ft.Colors.with_opacity(0.08, colours["primary"]),
        focus_color=ft.Colors.with_opacity(0.24, colours["primary"]),
        navigation_bar_theme=ft.NavigationBarTheme(
            bgcolor=colours["surface"],
            indicator_color=colours["primary_container"],
            height=64,
            label_text_style={
                ft.ControlState.SELECTED: ft.TextStyle(
                    font_family=STRONG, font_family_fallback=STRONG_FALLBACK, size=12, color=colours["on_surface"]
                ),
                ft.ControlState.DEFAULT: ft.TextStyle(
                    font_family=SANS, font_family_fallback=FALLBACK, size=12, color=colours["on_surface_variant"]
                ),
            },
        ),
        navigation_rail_theme=ft.NavigationRailTheme(
            bgcolor=colours["surface"],
            indicator_color=colours["primary_container"],
            selected_label_text_style=strong.copy(size=12, color=colours["on_surface"]),
            unselected_label_text_style=strong.copy(
                font_family=SANS, font_family_fallback=FALLBACK, size=12, color=colours["on_surface_variant"]
            ),
        ),
        tooltip_theme=ft.TooltipTheme(
            wait_duration=ft.Duration(milliseconds=600),
            text_style=ft.TextStyle(
                font_family=SANS, font_family_fallback=FALLBACK, size=13, color=colours["on_inverse_surface"]
            ),
            decoration=ft.BoxDecoration(bgcolor=colours["inverse_surface"], border_radius=UNIT),
        ),
        page_transitions=ft.PageTransitionsTheme(
            android=moving, linux=moving, windows=moving, **({"ios": moving, "macos": moving} if calm else {})
        ),
    )


def _text(value: str, size: float, family: str, fallback: list[str], height: float, more: dict[str, object]) -> ft.Text:
    colour = more.pop("color", INK)
    spacing = more.pop("letter_spacing", -0.02 * size if family == DISPLAY else 0)
    return ft.Text(
        value,
        color=colour,  # type: ignore[arg-type]
        style=ft.TextStyle(
            size=size,
            height=height,
            font_family=family,
            font_family_fallback=fallback,
            letter_spacing=spacing,  # type: ignore[arg-type]
        ),
        **more,  # type: ignore[arg-type]
    )


def display(value: str, size: float = 32, **more: object) -> ft.Text:
    """A film's name, where it is large."""
    return _text(value, size, DISPLAY, STRONG_FALLBACK, 1.1, more)


def title(value: str, **more: object) -> ft.Text:
    """The name of a screen."""
    return _text(value, 26, DISPLAY, STRONG_FALLBACK, 1.2, more)


def heading(value: str, **more: object) -> ft.Text:
    """The name of a part of a screen."""
    return _text(value, 18, STRONG, STRONG_FALLBACK, 1.3, more)


def strong(value: str, **more: object) -> ft.Text:
    """What stands out in a line."""
    return _text(value, 15, STRONG, STRONG_FALLBACK, 1.4, more)


def body(value: str, **more: object) -> ft.Text:
    """What is read."""
    return _text(value, 15, SANS, FALLBACK, 1.5, more)


def small(value: str, **more: object) -> ft.Text:
    """What stands beside."""
    return _text(value, 13, SANS, FALLBACK, 1.4, {"color": QUIET, **more})
