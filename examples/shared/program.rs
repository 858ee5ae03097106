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

/// Where an argument of one program goes: a `bool` for a switch, an `Option<String>` for an argument with a value.
pub trait Argument {
    /// Takes its value, if it has one, from the arguments after it. Returns false if the value is missing.
    fn take(&mut self, rest: &mut dyn Iterator<Item = String>) -> bool;
}

impl Argument for bool {
    fn take(&mut self, _: &mut dyn Iterator<Item = String>) -> bool {
        *self = true;
        true
    }
}

impl Argument for Option<String> {
    fn take(&mut self, rest: &mut dyn Iterator<Item = String>) -> bool {
        *self = rest.next();
        self.is_some()
    }
}

/// Reads `--addr HOST:PORT`, `--lang en` or `--lang zh`, and the arguments of this program, such as `--tls` or
/// `--node NAME`. Any other argument prints the usage and ends the program with status 2.
pub fn arguments(program: &str, default_addr: &str, own: &mut [(&str, &mut dyn Argument)]) -> (String, Lang) {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let (mut addr, mut lang) = (default_addr.to_owned(), Lang::English);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let is_own = |described: &str| described.split(' ').next() == Some(&argument);
        let is_complete = if let Some((_, own)) = own.iter_mut().find(|(described, _)| is_own(described)) {
            own.take(&mut arguments)
        } else if argument == "--addr" {
            arguments.next().map(|value| addr = value).is_some()
        } else if argument == "--lang" {
            let value = match arguments.next().as_deref() {
                Some("en") => Some(Lang::English),
                Some("zh") => Some(Lang::Chinese),
                _ => None,
            };
            value.map(|value| lang = value).is_some()
        } else {
            print_usage(program, own);
            eprintln!("unknown argument: {argument}");
            std::process::exit(2)
        };
        if !is_complete {
            print_usage(program, own);
            std::process::exit(2)
        }
    }
    (addr, lang)
}

fn print_usage(program: &str, own: &[(&str, &mut dyn Argument)]) {
    let own: String = own.iter().map(|(described, _)| format!(" [{described}]")).collect();
    eprintln!("usage: {program} [--addr HOST:PORT] [--lang en|zh]{own}");
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
