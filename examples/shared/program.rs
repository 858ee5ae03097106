//! The parts that the example programs share: their command line, their language, and the signal that stops them.

/// The language of what a program prints and sends.
#[derive(Clone, Copy)]
pub enum Lang {
    English,
    Chinese,
}

impl Lang {
    pub fn pick<T>(self, english: T, chinese: T) -> T {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }

    /// The page in the language that it begins with; its switch changes to the other one.
    pub fn page(self, page: &str) -> String {
        page.replacen(r#"<html lang="en">"#, self.pick(r#"<html lang="en">"#, r#"<html lang="zh-CN">"#), 1)
    }
}

/// Reads `--addr HOST:PORT`, `--lang en` or `--lang zh`, and the switches of this program. Any other argument prints the
/// usage and ends the program with status 2.
pub fn arguments(program: &str, default_addr: &str, switches: &mut [(&str, &mut bool)]) -> (String, Lang) {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let (mut addr, mut lang) = (default_addr.to_owned(), Lang::English);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let switch = switches.iter_mut().find(|(name, _)| *name == argument);
        match (argument.as_str(), switch) {
            (_, Some((_, on))) => **on = true,
            ("--addr", _) => addr = arguments.next().unwrap_or_else(|| usage(program, switches)),
            ("--lang", _) => match arguments.next().as_deref() {
                Some("en") => lang = Lang::English,
                Some("zh") => lang = Lang::Chinese,
                _ => usage(program, switches),
            },
            _ => usage(program, switches),
        }
    }
    (addr, lang)
}

fn usage(program: &str, switches: &[(&str, &mut bool)]) -> ! {
    let switches: String = switches.iter().map(|(name, _)| format!(" [{name}]")).collect();
    eprintln!("usage: {program} [--addr HOST:PORT] [--lang en|zh]{switches}");
    std::process::exit(2)
}

/// Resolves at Ctrl-C or SIGTERM. It listens from the call on: a program that calls it before it serves leaves no client
/// without a close frame.
pub fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        match signals {
            [Ok(mut interrupt), Ok(mut terminate)] => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            _ => drop(tokio::signal::ctrl_c().await),
        }
    }
}
