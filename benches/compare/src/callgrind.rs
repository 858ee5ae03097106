//! What callgrind wrote: how many instructions, and where in the source they stand. Pure.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};

/// Instructions by place: a room of this project, a crate, the standard library, or a function of libc.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    places: BTreeMap<String, u64>,
}

impl Profile {
    pub fn total(&self) -> u64 {
        self.places.values().sum()
    }

    /// What this one has beyond `less` per unit, the most first; a place may have lost some.
    pub fn beyond(&self, less: &Profile, units: u64) -> Vec<(String, f64)> {
        let names = self.places.keys().chain(less.places.keys().filter(|name| !self.places.contains_key(*name)));
        let count = |profile: &Profile, name: &String| profile.places.get(name).copied().unwrap_or(0) as f64;
        let per_unit = |name: &String| (count(self, name) - count(less, name)) / units as f64;
        let mut places: Vec<(String, f64)> = names.map(|name| (name.clone(), per_unit(name))).collect();
        places.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        places
    }

    /// Reads the file. Every cost line is a line's own cost, except the one behind `calls=`, which is the callee's.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut objects, mut files, mut functions) = (Names::default(), Names::default(), Names::default());
        let (mut object, mut file, mut function) = (String::new(), String::new(), String::new());
        let mut place = String::new();
        let mut profile = Self::default();
        let mut totals = None;
        let mut callee = false;
        for line in text.lines() {
            let is_cost = line.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '*'));
            if is_cost {
                if !std::mem::take(&mut callee) {
                    let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
                    let cost = cost.with_context(|| format!("no cost in {line:?}"))?;
                    match profile.places.get_mut(&place) {
                        Some(sum) => *sum += cost,
                        None => {
                            profile.places.insert(place.clone(), cost);
                        }
                    }
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                if let Some(sum) = line.strip_prefix("totals: ") {
                    totals = Some(sum.trim().parse::<u64>().with_context(|| format!("no sum in {line:?}"))?);
                }
                continue;
            };
            match key {
                "ob" => object = objects.resolve(value)?,
                "fl" | "fi" | "fe" => file = files.resolve(value)?,
                "fn" => function = functions.resolve(value)?,
                // names are given once, here or there
                "cob" => drop(objects.resolve(value)?),
                "cfi" | "cfl" => drop(files.resolve(value)?),
                "cfn" => drop(functions.resolve(value)?),
                "calls" => callee = true,
                _ => {}
            }
            if matches!(key, "ob" | "fl" | "fi" | "fe" | "fn") {
                place = place_of(&object, &file, &function);
            }
        }
        ensure!(
            totals == Some(profile.total()),
            "callgrind reports {totals:?} in total, its lines add up to {}",
            profile.total()
        );
        Ok(profile)
    }
}

/// `(3) name` defines, `(3)` refers.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    fn resolve(&mut self, value: &str) -> Result<String> {
        let Some((id, name)) = value.split_once(' ') else {
            if !value.starts_with('(') {
                return Ok(value.to_owned());
            }
            return self.0.get(value).cloned().with_context(|| format!("callgrind does not define the name {value}"));
        };
        self.0.insert(id.to_owned(), name.to_owned());
        Ok(name.to_owned())
    }
}

fn place_of(object: &str, file: &str, function: &str) -> String {
    if let Some((_, room)) = file.split_once("/endpoint-runtime/src/") {
        return format!("ours: {}", room.trim_end_matches(".rs"));
    }
    if file.contains("/examples/") || file.contains("/benches/compare/src/") {
        return "the server's own lines".to_owned();
    }
    if let Some(crate_and_version) = file.split_once("/registry/src/").and_then(|(_, rest)| rest.split('/').nth(1)) {
        let name = crate_and_version.rsplit_once('-').map_or(crate_and_version, |(name, _)| name);
        return name.to_owned();
    }
    if let Some((_, std)) = file.split_once("library/") {
        let std = std.rsplit("../").next().unwrap_or(std);
        return format!("std: {}", std.replacen("/src/", "/", 1).trim_end_matches(".rs"));
    }
    let object = object.rsplit('/').next().unwrap_or(object);
    let library = object.split(['.', '-']).next().unwrap_or(object);
    // a recursive function has one name per depth
    format!("{library}: {}", function.split('\'').next().unwrap_or(function))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = "\
# callgrind format
version: 1
positions: line
events: Ir

ob=(1) /checkout/target/release/examples/bench_server
fl=(1) /checkout/endpoint-runtime/src/wire/decode.rs
fn=(1) endpoint_runtime::wire::decode::Decoder::next
170 12
+3 5
fi=(2) /rustc/59807/library/core/src/slice/mod.rs
900 7
fe=(1)
173 1
cob=(2) /lib/x86_64-linux-gnu/libc.so.6
cfi=(3) ./string/../memcpy.S
cfn=(2) memcpy'2
calls=4 20
* 1000

fl=(4) /cargo/registry/src/index-19/tokio-util-0.7.16/src/task.rs
fn=(3) poll
5 2

ob=(2)
fl=(3)
fn=(2)
20 30
-5 4

totals: 61
";

    #[test]
    fn own_costs_are_summed_by_place_and_those_of_callees_are_not() {
        let profile = Profile::parse(OUT).unwrap();
        let places: Vec<(&str, u64)> = profile.places.iter().map(|(name, cost)| (name.as_str(), *cost)).collect();
        assert_eq!(
            places,
            [("libc: memcpy", 34), ("ours: wire/decode", 18), ("std: core/slice/mod", 7), ("tokio-util", 2)]
        );
        assert_eq!(profile.total(), 61);
    }

    #[test]
    fn a_sum_that_differs_and_a_name_that_is_missing_are_errors() {
        assert!(Profile::parse(&OUT.replace("totals: 61", "totals: 62")).is_err());
        assert!(Profile::parse(&OUT.replace("ob=(2)\n", "ob=(7)\n")).is_err());
        assert!(Profile::parse("version: 1\n").is_err());
    }

    #[test]
    fn the_difference_of_two_is_per_unit_and_may_be_negative() {
        let of = |places: &[(&str, u64)]| Profile {
            places: places.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect(),
        };
        let (more, less) = (of(&[("a", 30), ("b", 100)]), of(&[("a", 10), ("c", 5)]));
        assert_eq!(more.beyond(&less, 10), [("b".to_owned(), 10.0), ("a".to_owned(), 2.0), ("c".to_owned(), -0.5)]);
    }
}
