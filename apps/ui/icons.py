"""The icons, drawn for this project on a 16-pixel grid in one stroke weight; inlined, so that they take the text's
colour and need no second request."""

from __future__ import annotations

ICONS: dict[str, str] = {
    # status
    "check": '<circle cx="8" cy="8" r="6.25"/><path d="m5.25 8.25 2 2 3.5-4"/>',
    "cross": '<circle cx="8" cy="8" r="6.25"/><path d="m5.75 5.75 4.5 4.5m0-4.5-4.5 4.5"/>',
    "warning": '<path d="M8 2.25 14.25 13.5H1.75Z"/><path d="M8 6.5v3m0 1.75v.25"/>',
    "question": '<circle cx="8" cy="8" r="6.25" stroke-dasharray="2.6 1.6"/>'
    '<path d="M6.4 6.4a1.65 1.65 0 1 1 2.4 1.45c-.5.27-.8.6-.8 1.15m0 1.9v.2"/>',
    "dash": '<circle cx="8" cy="8" r="6.25"/><path d="M5.25 8h5.5"/>',
    "block": '<circle cx="8" cy="8" r="6.25"/><path d="m3.75 3.75 8.5 8.5"/>',
    "stop": '<circle cx="8" cy="8" r="6.25"/><path d="M6 6h4v4H6z"/>',
    "shield": '<path d="M8 1.75 13.5 4v4c0 3.2-2.2 5.3-5.5 6.5C4.7 13.3 2.5 11.2 2.5 8V4Z"/><path d="M5.75 8h4.5"/>',
    "leave": '<path d="M9.5 2.75h-6v10.5h6M6.5 8h7m-2.5-2.5L13.5 8 11 10.5"/>',
    "progress": '<path d="M8 1.75A6.25 6.25 0 1 1 1.75 8"/><path d="M8 4.75V8l2.25 1.5"/>',
    "info": '<circle cx="8" cy="8" r="6.25"/><path d="M8 7.25v4M8 4.75V5"/>',
    # places
    "overview": '<path d="M2.25 2.25h4.5v6.5h-4.5zM9.25 2.25h4.5v3.5h-4.5zM9.25 8.25h4.5v5.5h-4.5zM2.25 11.25h4.5v2.5h-4.5z"/>',
    "requests": '<path d="M2 4h12M2 8h12M2 12h7.5"/>',
    "routes": '<circle cx="3.5" cy="8" r="1.5"/><circle cx="12.5" cy="3.75" r="1.5"/><circle cx="12.5" cy="12.25" r="1.5"/>'
    '<path d="M5 8c3.5 0 2.5-4.25 6-4.25M5 8c3.5 0 2.5 4.25 6 4.25"/>',
    "providers": '<path d="M2.25 3h11.5v4H2.25zM2.25 9h11.5v4H2.25zM4.75 5v.1M4.75 11v.1"/>',
    "keys": '<circle cx="5" cy="11" r="2.75"/><path d="m7 9 6.25-6.25M10.5 5.5l2 2"/>',
    "spend": '<circle cx="8" cy="8" r="6.25"/>'
    '<path d="M10 6c0-1-.9-1.6-2-1.6S6 5 6 6c0 2.4 4 1.6 4 4 0 1-.9 1.6-2 1.6S6 11 6 10M8 3.4v9.2"/>',
    "fleet": '<rect x="2.25" y="2.25" width="11.5" height="5" rx="1"/>'
    '<rect x="2.25" y="8.75" width="11.5" height="5" rx="1"/><path d="M9 4.75h2.5M9 11.25h2.5"/>',
    "flags": '<path d="M3.5 14V2.25h8.75L10.5 5.5l1.75 3.25H3.5"/>',
    "settings": '<path d="M2 4.5h6.5m3 0H14M2 11.5h2.5m3 0H14"/><circle cx="10" cy="4.5" r="1.5"/><circle cx="6" cy="11.5" r="1.5"/>',
    "incidents": '<path d="M8 1.75c-2.6 0-4 1.9-4 4.25v3L2.5 11.5h11L12 9V6c0-2.35-1.4-4.25-4-4.25ZM6.5 13.75h3"/>',
    "alerts": '<path d="M4 11.25V8a4 4 0 0 1 8 0v3.25M2.5 11.25h11v2.5h-11zM8 .75V2.5M1.5 4.25l1.5 1m11.5-1-1.5 1"/>',
    "resilience": '<circle cx="8" cy="8" r="6.25"/><circle cx="8" cy="8" r="2.5"/>'
    '<path d="m3.6 3.6 2.6 2.6m3.6 3.6 2.6 2.6m0-8.8-2.6 2.6m-3.6 3.6-2.6 2.6"/>',
    "history": '<path d="M2.25 8A5.75 5.75 0 1 0 4 3.85L2.25 5.5M2.25 2.25V5.5H5.5M8 5v3.25l2.25 1.25"/>',
    # tools
    "plus": '<path d="M8 3v10M3 8h10"/>',
    "edit": '<path d="m10.75 2.75 2.5 2.5-7.75 7.75-3.25.75.75-3.25Zm-2 2 2.5 2.5"/>',
    "copy": '<rect x="5.25" y="5.25" width="8.5" height="8.5" rx="1"/><path d="M10.75 5.25v-3h-8.5v8.5h3"/>',
    "file": '<path d="M3.5 1.75h5.75L12.5 5v9.25h-9ZM9 2v3.25h3.25M5.75 8.5h4.5m-4.5 2.75h4.5"/>',
    "more": '<path d="M3 8h.1M8 8h.1m4.9 0h.1" stroke-width="2.2"/>',
    "undo": '<path d="M5.5 2.5 2.25 5.75 5.5 9M2.5 5.75h7a4 4 0 0 1 0 8H6"/>',
    "up": '<path d="m4.5 9.75 3.5-3.5 3.5 3.5"/>',
    "out": '<path d="M9 2.5h4.5V7M13.25 2.75 7.5 8.5M6.5 3.5h-4v10h10v-4"/>',
    "keyboard": '<rect x="1.25" y="3.75" width="13.5" height="8.5" rx="1"/><path d="M4 6.5h.1m2.6 0h.1m2.6 0h.1m2.6 0h.1M4.5 9.5h7"/>',
    "globe": '<circle cx="8" cy="8" r="6.25"/><path d="M1.75 8h12.5"/>'
    '<path d="M8 1.75c2 1.8 2.75 4 2.75 6.25S10 12.45 8 14.25C6 12.45 5.25 10.25 5.25 8S6 3.55 8 1.75Z"/>',
    "menu": '<path d="M2 4h12M2 8h12M2 12h12"/>',
    "close": '<path d="m4 4 8 8m0-8-8 8"/>',
    "chevron": '<path d="m4.5 6.25 3.5 3.5 3.5-3.5"/>',
    "left": '<path d="M9.75 4.5 6.25 8l3.5 3.5"/>',
    "right": '<path d="M6.25 4.5 9.75 8l-3.5 3.5"/>',
    "download": '<path d="M8 2.25v8m-3-3 3 3 3-3M2.5 13.5h11"/>',
    "theme": '<circle cx="8" cy="8" r="6.25"/><path d="M8 1.75v12.5a6.25 6.25 0 0 0 0-12.5Z" fill="currentColor"/>',
    "person": '<circle cx="8" cy="5.25" r="2.75"/><path d="M2.5 14c.5-3 2.75-4.25 5.5-4.25S13 11 13.5 14"/>',
    "clock": '<circle cx="8" cy="8" r="6.25"/><path d="M8 4.5V8l2.5 1.5"/>',
    "flask": '<path d="M6 2h4M6.75 2v4.25L2.9 12.5c-.4.8 0 1.5.9 1.5h8.4c.9 0 1.3-.7.9-1.5L9.25 6.25V2M4.75 10h6.5"/>',
    "search": '<circle cx="7" cy="7" r="4.75"/><path d="m10.5 10.5 3.5 3.5"/>',
    "plug": '<path d="M5.5 2v3.5m5-3.5v3.5M3.75 5.5h8.5V8a4.25 4.25 0 0 1-8.5 0ZM8 12.25V14.5"/>',
    "inbox": '<path d="M2 9.5 4 3h8l2 6.5v3.75H2Zm0 0h3.5c.3 1.4 1.2 2 2.5 2s2.2-.6 2.5-2H14"/>',
    "brand": '<rect x="1.75" y="2.25" width="12.5" height="11.5" rx="1.5"/><path d="M6 2.25v11.5M10 2.25v11.5"/>'
    '<rect x="10" y="2.25" width="4.25" height="11.5" fill="currentColor" stroke="none"/>',
}
"""Name -> the inside of a 16 x 16 SVG. Static text of our own: safe to print."""
