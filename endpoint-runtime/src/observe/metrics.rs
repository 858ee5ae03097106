//! Metrics as names, labels and values, and their page in the text format of Prometheus (version 0.0.4).

use std::fmt::{self, Write};

use super::histogram::Durations;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples in classes.
    Histogram,
}

impl MetricKind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The labels of a sample.
pub(crate) type Labels<'l> = &'l [(&'static str, &'l str)];

/// A snapshot of all metrics of a container, at one point in time.
///
/// `Display` writes it as a page for Prometheus.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    families: Vec<Family>,
}

/// One metric with all its samples.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    help: &'static str,
    pub(crate) samples: Vec<Sample>,
}

/// One value of a metric.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// What follows the name: of a histogram `_bucket`, `_sum` or `_count`.
    pub(crate) suffix: &'static str,
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: f64,
}

impl Metrics {
    /// The value of a metric: the sum of all its samples that have at least these labels; `None` if there is none.
    ///
    /// A histogram has the names of its samples, with `_count`, `_sum` and `_bucket` at the end.
    ///
    /// ```
    /// # use endpoint_runtime::ServerContainer;
    /// let metrics = ServerContainer::builder().build()?.stats().metrics();
    /// assert_eq!(metrics.get("websocket_server_ready", []), Some(1.0));
    /// assert_eq!(metrics.get("websocket_server_sessions", [("endpoint", "/chat")]), None);
    /// # Ok::<(), endpoint_runtime::Error>(())
    /// ```
    pub fn get<'l>(&self, name: &str, labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Option<f64> {
        let labels: Vec<_> = labels.into_iter().collect();
        let samples = self.families.iter().flat_map(|family| family.samples.iter().map(move |it| (family.name, it)));
        let named = samples.filter(|(family, it)| name.strip_prefix(family).is_some_and(|rest| rest == it.suffix));
        let has = |sample: &Sample, (key, value): &(&str, &str)| {
            sample.labels.iter().any(|(name, is)| name == key && is == value)
        };
        let values: Vec<f64> = named
            .filter(|(_, sample)| labels.iter().all(|label| has(sample, label)))
            .map(|(_, sample)| sample.value)
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The names of all metrics, also of those without a value now.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.families.iter().map(|family| family.name)
    }

    /// Adds a metric, for samples to follow.
    pub(crate) fn family(&mut self, name: &'static str, kind: MetricKind, help: &'static str) -> &mut Family {
        self.families.push(Family { name, kind, help, samples: Vec::new() });
        let last = self.families.len() - 1;
        &mut self.families[last]
    }

    /// All metrics.
    #[cfg(feature = "metrics")]
    pub(crate) fn families(&self) -> &[Family] {
        &self.families
    }
}

impl Family {
    /// Adds a value. Values with the same labels add up: each series appears once on a page.
    pub(crate) fn add(&mut self, labels: Labels<'_>, value: f64) {
        self.add_sample("", labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), value);
    }

    /// Adds a histogram, in seconds.
    pub(crate) fn add_durations(&mut self, labels: Labels<'_>, durations: &Durations) {
        let own = || labels.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let mut so_far = 0;
        let bounds = durations.bounds.iter().map(|bound| bound.as_secs_f64().to_string());
        for (count, bound) in durations.counts.iter().zip(bounds.chain(["+Inf".to_owned()])) {
            so_far += count;
            self.add_sample("_bucket", own().chain([("le", bound)]).collect(), so_far as f64);
        }
        self.add_sample("_sum", own().collect(), durations.sum.as_secs_f64());
        self.add_sample("_count", own().collect(), durations.count as f64);
    }

    fn add_sample(&mut self, suffix: &'static str, labels: Vec<(&'static str, String)>, value: f64) {
        match self.samples.iter_mut().find(|sample| sample.suffix == suffix && sample.labels == labels) {
            Some(sample) => sample.value += value,
            None => self.samples.push(Sample { suffix, labels, value }),
        }
    }
}

/// The page for Prometheus.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Family { name, kind, help, samples } in &self.families {
            writeln!(f, "# HELP {name} {}", Escaped(help, false))?;
            writeln!(f, "# TYPE {name} {}", kind.name())?;
            for Sample { suffix, labels, value } in samples {
                write!(f, "{name}{suffix}")?;
                for (index, (label, value)) in labels.iter().enumerate() {
                    let before = if index == 0 { '{' } else { ',' };
                    write!(f, "{before}{label}=\"{}\"", Escaped(value, true))?;
                }
                let after = if labels.is_empty() { "" } else { "}" };
                writeln!(f, "{after} {value}")?;
            }
        }
        Ok(())
    }
}

/// A text in which backslashes and line feeds are escaped; quotes as well if the flag is set, which only labels need.
struct Escaped<'t>(&'t str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// The value of a label as a reader of the format sees it.
    fn unescaped(text: &str) -> String {
        let (mut out, mut chars) = (String::new(), text.chars());
        while let Some(char) = chars.next() {
            match char {
                '\\' => match chars.next() {
                    Some('n') => out.push('\n'),
                    Some(other) => out.push(other),
                    None => panic!("a backslash at the end of {text}"),
                },
                '"' | '\n' => panic!("{char:?} is not escaped in {text}"),
                char => out.push(char),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_label_can_be_read_back(label in any::<String>()) {
            prop_assert_eq!(unescaped(&Escaped(&label, true).to_string()), label);
        }
    }

    #[test]
    fn page_has_help_and_type_and_one_line_for_each_series() {
        let mut metrics = Metrics::default();
        let family = metrics.family("sessions", MetricKind::Gauge, "Open sessions\nnow.");
        family.add(&[("endpoint", "/a \"b\"")], 2.0);
        family.add(&[("endpoint", "/a \"b\"")], 1.0);
        metrics.family("lost_total", MetricKind::Counter, "Lost.").add(&[], 12_345_678.0);
        metrics.family("none", MetricKind::Gauge, "None.");
        let page = "# HELP sessions Open sessions\\nnow.\n# TYPE sessions gauge\nsessions{endpoint=\"/a \\\"b\\\"\"} 3\n\
                    # HELP lost_total Lost.\n# TYPE lost_total counter\nlost_total 12345678\n\
                    # HELP none None.\n# TYPE none gauge\n";
        assert_eq!(metrics.to_string(), page);
        assert_eq!(metrics.get("sessions", []), Some(3.0));
        assert_eq!(metrics.get("sessions", [("endpoint", "/b")]), None);
        assert_eq!(metrics.get("none", []), None);
    }

    #[test]
    fn buckets_of_a_histogram_are_cumulative() {
        let durations = Durations {
            bounds: vec![Duration::from_millis(1), Duration::from_millis(500)],
            counts: vec![1, 2, 3],
            count: 6,
            sum: Duration::from_millis(2500),
        };
        let mut metrics = Metrics::default();
        metrics.family("wait_seconds", MetricKind::Histogram, "Waits.").add_durations(&[], &durations);
        let page = "# HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\nwait_seconds_bucket{le=\"0.001\"} 1\n\
                    wait_seconds_bucket{le=\"0.5\"} 3\nwait_seconds_bucket{le=\"+Inf\"} 6\nwait_seconds_sum 2.5\n\
                    wait_seconds_count 6\n";
        assert_eq!(metrics.to_string(), page);
        assert_eq!(metrics.get("wait_seconds_bucket", [("le", "0.5")]), Some(3.0));
    }
}
