//! Finds the endpoint for a request path: matches whole templates, then ranks the matches (Jakarta §3.1.1).
//!
//! It depends only on the path, never on HTTP.

use std::borrow::Cow;

use crate::handshake::path::{BadPath, ContextPath, PathParams, RequestPath, Segment, Template};

/// Whether `/chat` and `/chat/` are two paths or one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrailingSlash {
    /// Two paths: the default, as in example i of Jakarta §3.1.1.
    #[default]
    Strict,
    /// One path: a trailing slash is ignored in the request and in an endpoint's path.
    Ignore,
}

/// The mounted templates, each with its value.
#[derive(Debug)]
pub(crate) struct Router<T> {
    /// Sorted by rank, so that the first match is the best match.
    routes: Vec<Route<T>>,
    trailing_slash: TrailingSlash,
}

#[derive(Debug)]
struct Route<T> {
    template: Template,
    value: T,
}

/// The result of [`Router::find`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<'r, T> {
    /// An endpoint matches.
    Found {
        /// The value that its template was mounted with.
        value: &'r T,
        /// The values of the template's variables in this path.
        params: PathParams,
    },
    /// No template matches.
    NotFound,
    /// The path does not decode, so no template can match it.
    BadPath,
}

/// Templates that cannot be mounted together: every pair that matches the same paths (Jakarta §3.1.1).
#[derive(Debug)]
pub(crate) struct Conflicts<T> {
    routes: Vec<Route<T>>,
    pairs: Vec<(usize, usize)>,
}

impl<T> Router<T> {
    /// Creates a router of `routes`, each below `context`.
    ///
    /// # Errors
    /// All pairs of equal or equivalent templates (`/a/{x}` and `/a/{y}`), in the order of `routes`.
    pub(crate) fn new(
        context: &ContextPath,
        trailing_slash: TrailingSlash,
        routes: impl IntoIterator<Item = (Template, T)>,
    ) -> Result<Self, Conflicts<T>> {
        let mut routes: Vec<_> =
            routes.into_iter().map(|(template, value)| Route { template: template.under(context), value }).collect();
        let mut pairs = Vec::new();
        for (second, later) in routes.iter().enumerate() {
            for (first, earlier) in routes[..second].iter().enumerate() {
                if equivalent(trailing_slash.cut(&earlier.template), trailing_slash.cut(&later.template)) {
                    pairs.push((first, second));
                }
            }
        }
        if !pairs.is_empty() {
            return Err(Conflicts { routes, pairs });
        }
        // From left to right, a literal beats a variable. Templates of one rank differ in a literal or in length, so no
        // path matches two of them.
        routes.sort_by_cached_key(|route| route.template.segments().iter().map(is_variable).collect::<Vec<_>>());
        Ok(Self { routes, trailing_slash })
    }

    /// Finds the route for the path of a request target. Does not allocate if no template has variables and the path
    /// needs no decoding or normalisation.
    pub(crate) fn find(&self, path: &str) -> Lookup<'_, T> {
        let path = match RequestPath::parse(path) {
            Ok(path) => path,
            Err(BadPath) => return Lookup::BadPath,
        };
        let mut len = path.segments().count();
        if self.trailing_slash == TrailingSlash::Ignore && path.segments().last().as_deref() == Some("") {
            len -= 1;
        }
        for Route { template, value } in &self.routes {
            let template = self.trailing_slash.cut(template);
            if template.len() == len && template.iter().zip(path.segments()).all(matches) {
                return Lookup::Found { value, params: params(template, &path) };
            }
        }
        Lookup::NotFound
    }

    /// The templates with their context path and their values, best rank first.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&Template, &T)> {
        self.routes.iter().map(|route| (&route.template, &route.value))
    }
}

impl<T> Conflicts<T> {
    /// Each pair, the one mounted earlier first, with their templates below the context path.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = [(&Template, &T); 2]> {
        let route = |index: usize| (&self.routes[index].template, &self.routes[index].value);
        self.pairs.iter().map(move |&(first, second)| [route(first), route(second)])
    }
}

impl TrailingSlash {
    /// The significant segments of `template`.
    fn cut(self, template: &Template) -> &[Segment] {
        match (self, template.segments()) {
            (Self::Ignore, [segments @ .., Segment::Literal(last)]) if last.is_empty() => segments,
            (_, segments) => segments,
        }
    }
}

fn matches((template, path): (&Segment, Cow<'_, str>)) -> bool {
    match template {
        Segment::Literal(literal) => **literal == *path,
        Segment::Variable(_) => !path.is_empty(),
    }
}

fn params(template: &[Segment], path: &RequestPath<'_>) -> PathParams {
    let variables = template.iter().zip(path.segments()).filter_map(|(template, value)| match template {
        Segment::Variable(name) => Some((name.clone(), value.into_owned())),
        Segment::Literal(_) => None,
    });
    variables.collect()
}

/// Whether two templates match the same paths: variable names do not matter.
fn equivalent(left: &[Segment], right: &[Segment]) -> bool {
    let same = |pair: (&Segment, &Segment)| match pair {
        (Segment::Literal(left), Segment::Literal(right)) => left == right,
        (left, right) => is_variable(left) && is_variable(right),
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}

fn is_variable(segment: &Segment) -> bool {
    matches!(segment, Segment::Variable(_))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn router<'t>(context: &str, policy: TrailingSlash, templates: &[&'t str]) -> Router<&'t str> {
        let context = ContextPath::parse(context).unwrap();
        let routes = templates.iter().map(|text| (Template::parse(text).unwrap(), *text));
        Router::new(&context, policy, routes).expect("no conflicts")
    }

    /// The matching template with its variables' values, or `none` or `bad`.
    fn answer(router: &Router<&str>, path: &str) -> String {
        match router.find(path) {
            Lookup::Found { value, params } => {
                params.iter().fold((*value).to_owned(), |line, (_, value)| line + " " + value)
            }
            Lookup::NotFound => "none".into(),
            Lookup::BadPath => "bad".into(),
        }
    }

    /// The fourteen endpoints of the TCK's URI matching test, deployed together.
    #[test]
    fn all_fourteen_tck_endpoints_match() {
        let router = router(
            "",
            TrailingSlash::Strict,
            &[
                "/a",
                "/{a}",
                "/c/{d}",
                "/{c}/d",
                "/c/d",
                "/{c}/{d}",
                "/a/c/d",
                "/a/c/{d}",
                "/a/{c}/d",
                "/a/{c}/{d}",
                "/{a}/c/d",
                "/{a}/c/{d}",
                "/{a}/{c}/d",
                "/{a}/{c}/{d}",
            ],
        );
        for (path, expected) in [
            ("/a", "/a"),
            ("/c", "/{a} c"),
            ("/c/d", "/c/d"),
            ("/c/one", "/c/{d} one"),
            ("/one/d", "/{c}/d one"),
            ("/one/two", "/{c}/{d} one two"),
            ("/a/c/d", "/a/c/d"),
            ("/a/c/three", "/a/c/{d} three"),
            ("/a/two/d", "/a/{c}/d two"),
            ("/a/one/two", "/a/{c}/{d} one two"),
            ("/two/c/d", "/{a}/c/d two"),
            ("/one/c/two", "/{a}/c/{d} one two"),
            ("/one/two/d", "/{a}/{c}/d one two"),
            ("/one/two/three", "/{a}/{c}/{d} one two three"),
            ("/a/c/d/e", "none"),
        ] {
            assert_eq!(answer(&router, path), expected, "{path}");
        }
    }

    #[test]
    fn precedence_examples_of_the_specification() {
        let router = router("", TrailingSlash::Strict, &["/a/{var}/c", "/a/b/c", "/a/{v1}/{v2}", "/{v1}/d", "/b/{v2}"]);
        for (path, expected) in
            [("/a/b/c", "/a/b/c"), ("/a/d/c", "/a/{var}/c d"), ("/a/x/y", "/a/{v1}/{v2} x y"), ("/b/d", "/b/{v2} d")]
        {
            assert_eq!(answer(&router, path), expected, "{path}");
        }
    }

    /// The spec's literal algorithm gives up after the first segment; the only full match must answer.
    #[test]
    fn literal_dead_end_does_not_hide_a_full_match() {
        let router = router("", TrailingSlash::Strict, &["/a/{x}/c", "/{y}/b/d"]);
        assert_eq!(answer(&router, "/a/b/d"), "/{y}/b/d a");
    }

    #[test]
    fn a_variable_is_exactly_one_segment_that_is_not_empty() {
        let router = router("", TrailingSlash::Strict, &["/a/{var}"]);
        for (path, expected) in [
            ("/a/b", "/a/{var} b"),
            ("/a", "none"),
            ("/a/", "none"),
            ("/a/b/", "none"),
            ("/a/b/c", "none"),
            ("/a//", "none"),
            ("//b", "none"),
            ("/A/b", "none"),
            ("/a/%2F", "/a/{var} /"),
            ("/a/b%20c%2Fd%2525", "/a/{var} b c/d%25"),
            ("/x/../a/./b", "/a/{var} b"),
            ("/%61/b", "/a/{var} b"),
            ("/a/%zz", "bad"),
            ("/a/%ff", "bad"),
            ("*", "bad"),
            ("", "bad"),
        ] {
            assert_eq!(answer(&router, path), expected, "{path}");
        }
    }

    #[test]
    fn literals_are_compared_with_the_decoded_segment() {
        let router = router("/ü", TrailingSlash::Strict, &["/a b", "/100%", "/x/{y}"]);
        for (path, expected) in [
            ("/%C3%BC/a%20b", "/a b"),
            ("/ü/a%20%62", "/a b"),
            ("/%C3%BC/a+b", "none"),
            ("/%C3%BC/100%25", "/100%"),
            ("/%C3%BC/100%", "bad"),
            ("/%C3%BC/x%2Fy", "none"),
            ("/%c3%bc/%78/%79", "/x/{y} y"),
        ] {
            assert_eq!(answer(&router, path), expected, "{path}");
        }
    }

    #[test]
    fn params_carry_the_names_of_the_template() {
        let router = router("", TrailingSlash::Strict, &["/{room}/x/{seat}"]);
        let Lookup::Found { params, .. } = router.find("/blue/x/7") else { panic!("not found") };
        assert_eq!(params.iter().collect::<Vec<_>>(), [("room", "blue"), ("seat", "7")]);
    }

    #[test]
    fn a_trailing_slash_counts_or_is_ignored() {
        for (path, strict, ignoring) in [
            ("/", "/", "/"),
            ("/a", "none", "/a/"),
            ("/a/", "/a/", "/a/"),
            ("/a//", "none", "none"),
            ("/b", "/b", "/b"),
            ("/b/", "none", "/b"),
            ("/c/x", "/c/{x} x", "/c/{x} x"),
            ("/c/x/", "none", "/c/{x} x"),
            ("/c/", "none", "none"),
            ("/b/.", "none", "/b"),
        ] {
            let templates = ["/", "/a/", "/b", "/c/{x}"];
            assert_eq!(answer(&router("", TrailingSlash::Strict, &templates), path), strict, "{path}");
            assert_eq!(answer(&router("", TrailingSlash::Ignore, &templates), path), ignoring, "{path}");
        }
    }

    #[test]
    fn all_routes_are_below_the_context_path() {
        let strict = router("/web/socket", TrailingSlash::Strict, &["/", "/ws"]);
        for (path, expected) in [
            ("/web/socket/ws", "/ws"),
            ("/web/socket/", "/"),
            ("/web/socket", "none"),
            ("/ws", "none"),
            ("/web/socketws", "none"),
            ("/web%2Fsocket/ws", "none"),
        ] {
            assert_eq!(answer(&strict, path), expected, "{path}");
        }
        assert_eq!(answer(&router("/web", TrailingSlash::Ignore, &["/"]), "/web"), "/");
        assert_eq!(
            strict.routes().map(|(path, _)| path.to_string()).collect::<Vec<_>>(),
            ["/web/socket/", "/web/socket/ws"]
        );
    }

    #[test]
    fn all_conflicts_are_reported_together_and_in_order() {
        let conflicts = |policy, templates: &[&str]| {
            let routes = templates.iter().enumerate().map(|(index, text)| (Template::parse(text).unwrap(), index));
            let conflicts = Router::new(&ContextPath::default(), policy, routes).expect_err("conflicts");
            conflicts.pairs().map(|[(_, first), (_, second)]| (*first, *second)).collect::<Vec<_>>()
        };
        let templates = ["/a", "/a/{x}", "/b", "/a/{y}", "/a", "/{x}/b", "/a/{x}", "/a"];
        assert_eq!(conflicts(TrailingSlash::Strict, &templates), [(1, 3), (0, 4), (1, 6), (3, 6), (0, 7), (4, 7)],);
        assert_eq!(conflicts(TrailingSlash::Ignore, &["/a", "/b/", "/a/", "/b"]), [(0, 2), (1, 3)]);
    }

    /// Jakarta §3.1.1 literally, on plain strings: all full matches, then from left to right only the literals where
    /// there are any.
    fn oracle<'t>(templates: &[&'t str], path: &str) -> Option<&'t str> {
        let split = |text: &'t str| text.split('/').collect::<Vec<_>>();
        let path: Vec<_> = path.split('/').collect();
        let fits = |(template, path): (&&str, &&str)| {
            if template.starts_with('{') { !path.is_empty() } else { template == path }
        };
        let mut candidates: Vec<_> = templates.iter().map(|text| (*text, split(text))).collect();
        candidates.retain(|(_, template)| template.len() == path.len() && template.iter().zip(&path).all(fits));
        for (index, segment) in path.iter().enumerate() {
            if candidates.iter().any(|(_, template)| template[index] == *segment) {
                candidates.retain(|(_, template)| template[index] == *segment);
            }
        }
        assert!(candidates.len() <= 1, "{candidates:?}");
        candidates.pop().map(|(text, _)| text)
    }

    /// The greedy walk that the spec describes, without lookahead; the router must never contradict it.
    fn greedy<'t>(templates: &[&'t str], path: &str) -> Option<&'t str> {
        let path: Vec<_> = path.split('/').collect();
        let mut candidates: Vec<_> =
            templates.iter().map(|text| (*text, text.split('/').collect::<Vec<_>>())).collect();
        candidates.retain(|(_, template)| template.len() == path.len());
        for (index, segment) in path.iter().enumerate() {
            if candidates.iter().any(|(_, template)| template[index] == *segment) {
                candidates.retain(|(_, template)| template[index] == *segment);
            } else {
                candidates.retain(|(_, template)| template[index].starts_with('{') && !segment.is_empty());
            }
        }
        candidates.pop().map(|(text, _)| text)
    }

    /// Generates sets of templates without conflicts, over two letters and variables.
    fn templates() -> impl Strategy<Value = Vec<String>> {
        let template = (prop::collection::vec(0..3usize, 0..5), any::<bool>()).prop_map(|(kinds, slash)| {
            let segment = |(index, kind): (usize, &usize)| match kind {
                0 => "/a".to_owned(),
                1 => "/b".to_owned(),
                _ => format!("/{{v{index}}}"),
            };
            let text: String = kinds.iter().enumerate().map(segment).collect();
            if slash || text.is_empty() { text + "/" } else { text }
        });
        // variables are named by their position, so equivalent templates are equal here
        prop::collection::vec(template, 0..20)
            .prop_map(|all| all.into_iter().map(|text| (text, ())).collect::<BTreeMap<_, _>>().into_keys().collect())
    }

    proptest! {
        #[test]
        fn router_agrees_with_a_naive_implementation(
            templates in templates().prop_shuffle(),
            paths in prop::collection::vec("(/[abc]?){1,5}", 1..20),
        ) {
            let templates: Vec<_> = templates.iter().map(String::as_str).collect();
            let router = router("", TrailingSlash::Strict, &templates);
            for path in &paths {
                let found = match router.find(path) {
                    Lookup::Found { value, .. } => Some(*value),
                    _ => None,
                };
                prop_assert_eq!(found, oracle(&templates, path), "{}", path);
                if let Some(greedy) = greedy(&templates, path) {
                    prop_assert_eq!(found, Some(greedy), "{}", path);
                }
            }
        }

        #[test]
        fn no_path_makes_the_router_panic(path in "/?[ -~é/.%2eE]{0,40}") {
            let router = router("", TrailingSlash::Ignore, &["/", "/{a}", "/{a}/b", "/a/{b}/{c}"]);
            if let Lookup::Found { params, .. } = router.find(&path) {
                prop_assert!(params.iter().all(|(_, value)| !value.is_empty() && value != ".." && value != "."));
            }
        }
    }
}
