//! The same endpoints in Java under Tomcat 10 and in Rust here: the same client says the same to both, and what comes
//! back is the same, or differs for a reason that is listed.

#[path = "tomcat/client.rs"]
mod client;
#[path = "tomcat/differences.rs"]
mod differences;
#[path = "tomcat/endpoints.rs"]
mod endpoints;
#[path = "tomcat/page.rs"]
mod page;
#[path = "tomcat/process.rs"]
mod process;
#[path = "tomcat/script.rs"]
mod script;
#[path = "tomcat/scripts.rs"]
mod scripts;
mod support;

use std::sync::Arc;

use differences::DIFFERENCES;
use process::Tomcat;
use support::TestServer;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many scripts are played at a time.
const AT_A_TIME: usize = 8;

#[tokio::test]
#[ignore = "needs Tomcat 10 and a JDK: bash tests/run.sh"]
async fn endpoints_answer_as_in_tomcat_or_differ_as_listed() {
    let tomcat = tokio::task::spawn_blocking(Tomcat::start).await.unwrap();
    client::talks_to(tomcat.addr).await;
    let server = TestServer::with(endpoints::container()).await;
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let mut plays = JoinSet::new();
    for (index, script) in scripts::all().into_iter().flat_map(|(_, scripts)| scripts).enumerate() {
        let (theirs, ours, turns) = (tomcat.addr, server.addr, turns.clone());
        plays.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let key = format!("s{index}x");
            let (theirs, ours) = tokio::join!(script.play(theirs, &key), script.play(ours, &key));
            (index, script.name, theirs, ours)
        });
    }
    let mut plays = plays.join_all().await;
    plays.sort_by_key(|(index, ..)| *index);
    let mistakes: Vec<String> =
        plays.into_iter().filter_map(|(_, name, theirs, ours)| mistake(name, &theirs, &ours)).collect();
    assert!(mistakes.is_empty(), "{} of the scripts:\n\n{}", mistakes.len(), mistakes.join("\n"));
}

/// What is wrong with two transcripts of a script, if anything is.
fn mistake(name: &str, theirs: &[String], ours: &[String]) -> Option<String> {
    let (only_theirs, only_ours) = differing(theirs, ours);
    let listed = DIFFERENCES.iter().find(|difference| difference.scripts.contains(&name));
    let (listed_theirs, listed_ours) = listed.map_or((&[][..], &[][..]), |listed| (listed.tomcat, listed.ours));
    if only_theirs == listed_theirs && only_ours == listed_ours {
        return None;
    }
    let complaint = match listed {
        None => "differs, but no difference is listed",
        Some(_) if only_theirs.is_empty() && only_ours.is_empty() => "is the same, but a difference is listed",
        Some(_) => "differs from the listed difference",
    };
    let (theirs, ours) = (theirs.join("\n    "), ours.join("\n    "));
    Some(format!(
        "{name:?} {complaint}\n  Tomcat's own: {only_theirs:?}\n  our own: {only_ours:?}\n  Tomcat:\n    {theirs}\n  \
         ours:\n    {ours}\n"
    ))
}

/// The lines that only the one has, and those that only the other has: what is not in their longest common sequence.
fn differing<'a>(theirs: &'a [String], ours: &'a [String]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut common = vec![vec![0; ours.len() + 1]; theirs.len() + 1];
    for (i, their) in theirs.iter().enumerate().rev() {
        for (j, our) in ours.iter().enumerate().rev() {
            common[i][j] = if their == our { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut only_theirs, mut only_ours, mut i, mut j) = (Vec::new(), Vec::new(), 0, 0);
    while i < theirs.len() || j < ours.len() {
        if i < theirs.len() && j < ours.len() && theirs[i] == ours[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == ours.len() || i < theirs.len() && common[i + 1][j] >= common[i][j + 1] {
            only_theirs.push(theirs[i].as_str());
            i += 1;
        } else {
            only_ours.push(ours[j].as_str());
            j += 1;
        }
    }
    (only_theirs, only_ours)
}

#[test]
fn the_page_lists_these_scripts_and_differences() {
    let (page, should) = page::read();
    if std::env::var_os("TOMCAT_PAGE").is_some_and(|wish| wish == "overwrite") {
        page::write(&should);
    } else {
        assert!(page == should, "docs/tomcat.md is stale: TOMCAT_PAGE=overwrite cargo test --workspace --test tomcat");
    }
}

#[test]
fn each_script_differs_in_one_way_at_most() {
    let names: Vec<&str> = scripts::all().iter().flat_map(|(_, scripts)| scripts).map(|script| script.name).collect();
    let listed: Vec<&str> = DIFFERENCES.iter().flat_map(|difference| difference.scripts).copied().collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "duplicate script {name:?}");
    }
    for (index, name) in listed.iter().enumerate() {
        assert!(names.contains(name), "unknown script {name:?}");
        assert!(!listed[..index].contains(name), "{name:?} is listed twice");
    }
}

#[test]
fn unlisted_differences_are_errors() {
    let Some(listed) = DIFFERENCES.iter().find(|difference| difference.tomcat.len() == 1 && difference.ours.len() == 1)
    else {
        panic!("one of them is like that");
    };
    let (theirs, ours) = (vec![listed.tomcat[0].to_owned()], vec![listed.ours[0].to_owned()]);
    let listed = listed.scripts[0];
    assert_eq!(mistake(listed, &theirs, &ours), None);
    assert!(mistake(listed, &ours, &theirs).unwrap().contains("differs from the listed difference"));
    assert!(mistake(listed, &ours, &ours).unwrap().contains("is the same, but a difference is listed"));
    assert_eq!(mistake("listed nowhere", &ours, &ours), None);
    assert!(mistake("listed nowhere", &theirs, &ours).unwrap().contains("no difference is listed"));
}

#[test]
fn transcripts_are_compared_line_by_line() {
    let lines = |lines: &str| lines.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (theirs, ours, only_theirs, only_ours) in [
        ("a b c", "a b c", "", ""),
        ("a b c", "a c", "b", ""),
        ("a c", "a b c d", "", "b d"),
        ("a x c y", "a z c", "x y", "z"),
        ("a b", "b a", "a", "a"),
    ] {
        let (theirs, ours) = (lines(theirs), lines(ours));
        let (first, second) = differing(&theirs, &ours);
        assert_eq!((first.join(" "), second.join(" ")), (only_theirs.to_owned(), only_ours.to_owned()));
    }
}
