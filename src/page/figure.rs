//! A drawing in two colours: kuva draws, and what it cannot say is put right here.
//!
//! kuva writes colours and no CSS variables, so everything is drawn light and dark, and the page's style shows one of them. Its ids
//! come from a counter of the process; here they are named after the figure, so that equal figures have equal bytes and no two
//! figures on a page share one. Must not know: what is drawn.

use kuva::backend::svg::SvgBackend;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;
use kuva::render::theme::Theme;

use super::shape::{FigureView, TableView};

/// The colours of a drawing: Okabe and Ito's, which colour-blind people can tell apart, brighter on dark ground.
#[derive(Clone, Copy, Debug)]
pub struct Colours {
    pub ground: &'static str,
    pub text: &'static str,
    pub line: &'static str,
    pub grid: &'static str,
    /// Points of the grid, the front, the best, controls, the base.
    pub point: &'static str,
    pub front: &'static str,
    pub best: &'static str,
    pub control: &'static str,
    pub base: &'static str,
    /// Both ends of a scale. Text of this theme can be read on all of it.
    pub least: [u8; 3],
    pub most: [u8; 3],
}

pub const LIGHT: Colours = Colours {
    ground: "#ffffff",
    text: "#24292f",
    line: "#6e7781",
    grid: "#e6e9ec",
    point: "#8a939c",
    front: "#0072b2",
    best: "#d55e00",
    control: "#b07aa1",
    base: "#24292f",
    least: [0xf3, 0xf6, 0xfa],
    most: [0x7f, 0xb2, 0xdd],
};

pub const DARK: Colours = Colours {
    ground: "#0d1117",
    text: "#e6edf3",
    line: "#8b949e",
    grid: "#2b313a",
    point: "#8b949e",
    front: "#56b4e9",
    best: "#f0883e",
    control: "#cc9fd0",
    base: "#e6edf3",
    least: [0x1c, 0x23, 0x2d],
    most: [0x1f, 0x5f, 0x99],
};

const FONT: &str = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif";

impl Colours {
    fn theme(&self) -> Theme {
        Theme {
            background: self.ground.into(),
            axis_color: self.line.into(),
            grid_color: self.grid.into(),
            tick_color: self.line.into(),
            text_color: self.text.into(),
            legend_bg: self.ground.into(),
            legend_border: "none".into(),
            colorbar_border: self.line.into(),
            font_family: Some(FONT.into()),
            ..Theme::light()
        }
    }

    /// The colour of a share of the way from the least to the most; of nothing that of the ground.
    pub fn scale(&self, share: f64) -> String {
        if !share.is_finite() {
            return self.ground.to_owned();
        }
        let share = share.clamp(0.0, 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bytes")]
        let mix = |(least, most): (&u8, &u8)| {
            (f64::from(*least) + share * (f64::from(*most) - f64::from(*least))).round() as u8
        };
        let [red, green, blue] = [0, 1, 2].map(|at| mix((&self.least[at], &self.most[at])));
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

/// What is said of a figure.
pub struct Told<'a> {
    pub id: &'a str,
    pub title: &'a str,
    pub caption: String,
    pub table: TableView,
}

/// Draws a figure in both colours.
pub fn figure(told: Told<'_>, draw: &dyn Fn(&Colours) -> (Vec<Plot>, Layout)) -> FigureView {
    let one = |colours: &Colours, name: &str| {
        let (plots, layout) = draw(colours);
        let scene = render_multiple(plots, layout.with_theme(colours.theme()));
        tidy(&SvgBackend::new().render_scene(&scene), &format!("{}-{name}", told.id))
    };
    FigureView {
        id: told.id.into(),
        title: told.title.into(),
        light: one(&LIGHT, "light"),
        dark: one(&DARK, "dark"),
        caption: told.caption,
        table: told.table,
    }
}

/// An SVG that lies in a page: with a box to be scaled by, with ids of its own, without styles.
fn tidy(svg: &str, id: &str) -> String {
    let svg = without_styles(svg);
    let svg = own_ids(&svg, id);
    let size = |name: &str| {
        let head = svg.split_once('>').map_or("", |(head, _)| head);
        let (_, rest) = head.split_once(&format!(" {name}=\""))?;
        rest.split_once('"').map(|(size, _)| size.to_owned())
    };
    match (size("width"), size("height")) {
        (Some(width), Some(height)) if !svg.contains("viewBox") => {
            svg.replacen("<svg ", &format!("<svg viewBox=\"0 0 {width} {height}\" "), 1)
        }
        _ => svg,
    }
}

/// A style in a drawing would hold for the whole page, and the page's policy forbids it.
fn without_styles(svg: &str) -> String {
    let mut out = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some((before, after)) = rest.split_once("<style>") {
        out.push_str(before);
        rest = after.split_once("</style>").map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    out
}

/// Names kuva's ids after the figure. They are numbers of a counter behind `kuva-clip-`.
fn own_ids(svg: &str, id: &str) -> String {
    const PREFIX: &str = "kuva-clip-";
    let mut known: Vec<String> = Vec::new();
    let mut parts = svg.split(PREFIX);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        let number = known.iter().position(|other| *other == digits).unwrap_or_else(|| {
            known.push(digits.clone());
            known.len() - 1
        });
        out.push_str(&format!("{id}-clip-{number}"));
        out.push_str(part.get(digits.len()..).unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_have_ids_of_their_own_and_no_style() {
        let svg = "<svg xmlns=\"x\" width=\"10\" height=\"20\"><defs><clipPath id=\"kuva-clip-17\"/><style>g{}</style></defs>\
                   <g clip-path=\"url(#kuva-clip-17)\"/><g clip-path=\"url(#kuva-clip-18)\"/></svg>";
        assert_eq!(
            tidy(svg, "front-light"),
            "<svg viewBox=\"0 0 10 20\" xmlns=\"x\" width=\"10\" height=\"20\"><defs><clipPath id=\"front-light-clip-0\"/></defs>\
             <g clip-path=\"url(#front-light-clip-0)\"/><g clip-path=\"url(#front-light-clip-1)\"/></svg>"
        );
    }

    #[test]
    fn scales_run_from_the_least_to_the_most() {
        assert_eq!([0.0, 1.0, 7.0].map(|share| LIGHT.scale(share)), ["#f3f6fa", "#7fb2dd", "#7fb2dd"]);
        assert_eq!(DARK.scale(f64::NAN), DARK.ground);
    }
}
