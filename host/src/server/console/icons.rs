//! The console's few drawings, 16 by 16, in the colour of the text.

use maud::{Markup, PreEscaped, html};

/// A drawing by the lines of its path.
fn drawn(path: &'static str) -> Markup {
    html! {
        svg.icon viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.5"
            stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" { (PreEscaped(path)) }
    }
}

macro_rules! icons {
    ($($name:ident: $path:literal,)*) => {
        $(pub(super) fn $name() -> Markup { drawn(concat!("<path d=\"", $path, "\"/>")) })*
    };
}

icons! {
    workflows: "M2 4.5h5v3H2zM9 8.5h5v3H9zM7 6h2.5v2.5",
    runs: "M2.5 4h11M2.5 8h11M2.5 12h7",
    chart: "M2 13.5h12M3.5 11V8M7 11V4M10.5 11V6.5M13.5 11V2.5",
    letter: "M2 4h12v8H2zM2 4.5l6 4.5 6-4.5",
    gear: "M8 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM8 1.5v2M8 12.5v2M1.5 8h2M12.5 8h2M3.4 3.4l1.4 1.4M11.2 11.2l1.4 1.4M3.4 12.6l1.4-1.4M11.2 4.8l1.4-1.4",
    plus: "M8 3v10M3 8h10",
    copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
    play: "M5 3l8 5-8 5z",
    pause: "M5 3v10M11 3v10",
    clock: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 5v3.2l2.2 1.6",
    hook: "M2 8h9M7.5 4.5L11 8l-3.5 3.5M14 3v10",
    out: "M6 13.5H3v-11h3M10 11l3-3-3-3M13 8H6",
    host: "M2.5 2.5h11v4h-11zM2.5 9.5h11v4h-11zM5 4.5h.01M5 11.5h.01",
    search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.5 10.5l3 3",
    lock: "M3.5 7.5h9v6h-9zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
}

/// The product's mark: a gate in the tide.
pub(super) fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" {
            (PreEscaped("<rect width=\"24\" height=\"24\" rx=\"6\" fill=\"currentColor\"/><path d=\"M4 9.5c2.7-3 5.3-3 8 0s5.300 3 8 0M4 15.500c2.700-3 5.300-3 8 0s5.300 3 8 0\" fill=\"none\" stroke=\"#fff\" stroke-width=\"2\" stroke-linecap=\"round\"/>"))
        }
    }
}
