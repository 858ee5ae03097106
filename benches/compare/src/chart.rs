//! What all runs found, as a picture: a group of bars per workload, ours highlighted. Pure.

use svg::Document;
use svg::node::element::{Line, Rectangle, Style, Text, Title};

use crate::stats::{Spread, spread};
use crate::table::{self, Run};
use crate::workload::{self, Work, Workload};

/// The server that is highlighted, and those whose names continue with a hyphen.
const OURS: &str = "ours";
/// The server that all others are compared with, where it takes part.
const FLOOR: &str = "raw";

/// Bars of a greater ratio are cut off there: their numbers say how long they would be. One scale for all groups.
const LONGEST: f64 = 2.0;
/// The same for memory: so many times the middle one of all servers.
const LONGEST_OF_MIDDLE: f64 = 1.5;

const COLUMN: f64 = 440.0;
const MARGIN: f64 = 20.0;
const HEADER: f64 = 64.0;
const FOOTER: f64 = 34.0;
const NAMES: f64 = 118.0;
const BARS: f64 = 230.0;
const ROW: f64 = 17.0;
const BAR: f64 = 11.0;
const GROUP_TITLE: f64 = 22.0;
const GROUP_GAP: f64 = 16.0;

/// Its own background, so that it can be read on any page; both sets of colours have a contrast of 4.5 or more.
const STYLE: &str = "
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-size: 15px; font-weight: 600 }
.group { font-weight: 600 }
.quiet { fill: #57606a }
.ours { font-weight: 700 }
.card { fill: #ffffff; stroke: #d0d7de }
.bar { fill: #8c96a0 }
.bar.ours { fill: #0969da }
.bar.floor { fill: #c4cbd2 }
.base { stroke: #57606a; stroke-dasharray: 2 2 }
.spread { stroke: #24292f }
.cut { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.quiet { fill: #9198a1 }
.card { fill: #0d1117; stroke: #30363d }
.bar { fill: #656c76 }
.bar.ours { fill: #4493f8 }
.bar.floor { fill: #3d444d }
.base { stroke: #9198a1 }
.spread { stroke: #e6edf3 }
.cut { fill: #0d1117 }
}
";

/// What stands above all groups.
#[derive(Clone, Copy, Debug)]
pub struct Heading {
    /// The title, for those who cannot see the picture.
    pub title: &'static str,
    pub head: &'static str,
    pub below: &'static str,
}

const COMPARISON: Heading = Heading {
    title: "CPU time per message, relative to a raw TCP echo",
    head: "CPU time of the server per message, relative to a raw TCP echo",
    below: "Less is better. Medians, and the lowest and highest round.",
};

/// One workload: a bar per server, all in one unit.
#[derive(Debug, PartialEq)]
pub struct Group {
    pub title: String,
    /// What stands behind the numbers.
    pub unit: &'static str,
    /// Where bars are cut off.
    pub longest: f64,
    /// Where the dashed line stands.
    pub base: Option<f64>,
    pub bars: Vec<(String, Spread)>,
}

/// The picture of all runs, or `None` if no round succeeded. `about` stands at the foot.
pub fn svg(runs: &[Run], about: &str) -> Option<String> {
    let mut servers: Vec<String> = Vec::new();
    // each round's order is another
    for run in runs.iter().filter(|run| run.round == 0) {
        if !servers.contains(&run.server) {
            servers.push(run.server.clone());
        }
    }
    let groups: Vec<Group> = workload::ALL.iter().filter_map(|workload| group(workload, &servers, runs)).collect();
    (!groups.is_empty()).then(|| draw(COMPARISON, &groups, about))
}

fn group(workload: &Workload, servers: &[String], runs: &[Run]) -> Option<Group> {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.workload == workload.name).collect();
    let mine = |server: &String| runs.iter().copied().filter(|run| run.server == *server).collect::<Vec<_>>();
    let absolute = |server: &String| spread(mine(server).iter().filter_map(|run| run.headline()));
    let with_bars = |read: &dyn Fn(&String) -> Option<Spread>| -> Vec<(String, Spread)> {
        servers.iter().filter_map(|server| Some((server.clone(), read(server)?))).collect()
    };
    if workload.work == Work::Idle {
        let bars = with_bars(&absolute);
        let longest = spread(bars.iter().map(|(_, spread)| spread.median))?.median * LONGEST_OF_MIDDLE;
        let title = format!("{}: {}", workload.name, workload.title);
        return Some(Group { title, unit: " KiB", longest, base: None, bars });
    }
    let least = || {
        let medians = servers.iter().filter_map(|server| Some((server, absolute(server)?.median)));
        medians.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(server, _)| server.as_str())
    };
    let has_floor = runs.iter().any(|run| run.server == FLOOR && run.headline().is_some());
    let other = if has_floor { FLOOR } else { least()? };
    let bars = with_bars(&|server| spread(table::ratios(&mine(server), &runs, other)));
    let against = if has_floor { String::new() } else { format!(" (to {other})") };
    Some(Group {
        title: format!("{}: {}{against}", workload.name, workload.title),
        unit: "×",
        longest: LONGEST,
        base: Some(1.0),
        bars,
    })
}

impl Group {
    fn height(&self) -> f64 {
        GROUP_TITLE + ROW * self.bars.len() as f64 + GROUP_GAP
    }
}

/// The picture of these groups, in two columns.
pub fn draw(heading: Heading, groups: &[Group], about: &str) -> String {
    // the left column gets half of the height, or a little more
    let half = groups.iter().map(Group::height).sum::<f64>() / 2.0;
    let (mut left, mut right) = (0.0, 0.0);
    let mut places = Vec::new();
    for group in groups {
        let is_left = left < half;
        let height = if is_left { &mut left } else { &mut right };
        places.push((if is_left { MARGIN } else { MARGIN + COLUMN }, HEADER + *height));
        *height += group.height();
    }
    let (width, height) = (MARGIN * 2.0 + COLUMN * 2.0, HEADER + left.max(right) + FOOTER);
    let card = Rectangle::new().set("class", "card").set("rx", 8);
    let mut document = Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("width", width)
        .set("height", height)
        .set("role", "img")
        .add(Title::new(heading.title))
        .add(Style::new(STYLE))
        .add(card.set("x", 0.5).set("y", 0.5).set("width", width - 1.0).set("height", height - 1.0))
        .add(text("head", MARGIN, 28.0, heading.head))
        .add(text("quiet", MARGIN, 46.0, heading.below))
        .add(text("quiet", MARGIN, height - 14.0, about));
    for (group, (x, y)) in groups.iter().zip(places) {
        document = draw_group(document, group, x, y);
    }
    document.to_string()
}

fn draw_group(mut document: Document, group: &Group, x: f64, y: f64) -> Document {
    let scale = BARS / group.longest;
    let bars_x = x + NAMES;
    let bars_y = y + GROUP_TITLE;
    document = document.add(text("group", x, y + 12.0, &group.title));
    for (at, (server, spread)) in group.bars.iter().enumerate() {
        let top = bars_y + ROW * at as f64;
        let middle = top + ROW / 2.0;
        let class = match server.as_str() {
            name if name.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) => "ours",
            FLOOR => "floor",
            _ => "other",
        };
        let is_cut = spread.median * scale > BARS;
        let length = (spread.median * scale).clamp(0.0, BARS);
        let bar = Rectangle::new().set("class", format!("bar {class}")).set("x", bars_x).set("y", middle - BAR / 2.0);
        document = document.add(text(class, bars_x - 6.0, middle + 4.0, server).set("text-anchor", "end"));
        document = document.add(bar.set("width", round(length)).set("height", BAR));
        let mut end = length;
        if is_cut {
            let gap = Rectangle::new().set("class", "cut").set("x", bars_x + BARS - 14.0).set("width", 3);
            document = document.add(gap.set("y", middle - BAR / 2.0).set("height", BAR));
        } else if spread.max > spread.min {
            let (from, to) = (spread.min * scale, (spread.max * scale).min(BARS));
            let line = Line::new().set("class", "spread").set("x1", round(bars_x + from)).set("x2", round(bars_x + to));
            document = document.add(line.set("y1", middle).set("y2", middle));
            end = end.max(to);
        }
        let label = format!("{}{}", short(spread.median), group.unit);
        document = document.add(text(class, round(bars_x + end + 6.0), middle + 4.0, &label));
    }
    let Some(base) = group.base.map(|base| round(bars_x + base * scale)) else { return document };
    let bottom = bars_y + ROW * group.bars.len() as f64;
    let line = Line::new().set("class", "base").set("x1", base).set("x2", base);
    document.add(line.set("y1", bars_y - 2.0).set("y2", bottom))
}

fn text(class: &str, x: f64, y: f64, content: &str) -> Text {
    Text::new(content).set("class", class).set("x", x).set("y", y)
}

fn round(length: f64) -> f64 {
    (length * 10.0).round() / 10.0
}

/// Three digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Flow, Outcome};
    use crate::table::Finding;

    fn run(workload: &str, server: &str, round: usize, cpu_us: f64) -> Run {
        let flow = Flow {
            units: 1_000_000,
            seconds: 1.0,
            server_cpu_seconds: cpu_us,
            server_waited_seconds: 0.0,
            load_cpu_seconds: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
        };
        let finding = Finding::Ok(Outcome::Flow(flow));
        Run { workload: workload.to_owned(), server: server.to_owned(), round, finding }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn bars_are_ratios_to_the_floor() {
        let runs = [run("e100", "ours", 0, 3.0), run("e100", "raw", 0, 2.0), run("e1", "ours", 0, 9.0)];
        let group = group(Workload::named("e100").unwrap(), &names(&["ours", "raw"]), &runs).unwrap();
        let of = |ratio| Spread { median: ratio, min: ratio, max: ratio };
        assert_eq!(group.bars, [("ours".to_owned(), of(1.5)), ("raw".to_owned(), of(1.0))]);
        assert_eq!((group.base, group.unit), (Some(1.0), "×"));
    }

    #[test]
    fn without_the_floor_they_are_ratios_to_the_least() {
        let runs = [run("fanout", "ours", 0, 3.0), run("fanout", "other", 0, 6.0)];
        let group = group(Workload::named("fanout").unwrap(), &names(&["other", "ours"]), &runs).unwrap();
        assert!(group.title.ends_with("(to ours)"), "{}", group.title);
        assert_eq!(group.bars[0].1.median, 2.0);
    }

    #[test]
    fn server_without_a_result_has_no_bar_and_no_results_is_an_error() {
        let mut failed = run("e100", "ours", 0, 1.0);
        failed.finding = Finding::Error("the server closed the connection".to_owned());
        assert_eq!(svg(std::slice::from_ref(&failed), ""), None);
        let picture = svg(&[failed, run("e100", "raw", 0, 2.0)], "").unwrap();
        assert!(picture.contains("raw") && !picture.contains("ours<"), "{picture}");
    }

    #[test]
    fn text_is_escaped_and_long_bars_are_cut() {
        let runs = [run("p16", "a<b", 0, 40.0), run("p16", "raw", 0, 2.0)];
        let picture = svg(&runs, "5 & 6").unwrap();
        assert!(picture.contains("a&lt;b") && picture.contains("5 &amp; 6"), "{picture}");
        assert!(picture.contains("20.0×") && picture.contains("class=\"cut\""), "{picture}");
    }
}
