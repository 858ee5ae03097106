//! Tomcat as a process of this user: a folder of its own, a free port, ended with the test.
//!
//! `ENDPOINT_TOMCAT` is its folder with `bin` and `lib` (default: where Debian's tomcat10-common puts them),
//! `ENDPOINT_JAVA_HOME` a JDK (default: `java` and `javac` of the path).

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use std::{env, fs};

/// The longest that compiling and starting may take.
const START: Duration = Duration::from_secs(120);

pub struct Tomcat {
    pub addr: SocketAddr,
    child: Child,
    base: PathBuf,
}

impl Tomcat {
    /// Compiles the endpoints, starts Tomcat with them, and waits until it serves them.
    pub fn start() -> Self {
        let home = PathBuf::from(env::var("ENDPOINT_TOMCAT").unwrap_or_else(|_| "/usr/share/tomcat10".to_owned()));
        assert!(home.join("bin/bootstrap.jar").is_file(), "no Tomcat in {home:?}: see ENDPOINT_TOMCAT in tests/run.sh");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tomcat");
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tomcat-{}", std::process::id()));
        let classes = base.join("webapps/ROOT/WEB-INF/classes");
        for folder in [&classes, &base.join("conf"), &base.join("temp")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::copy(sources.join("server.xml"), base.join("conf/server.xml")).unwrap();
        fs::copy(sources.join("web.xml"), base.join("webapps/ROOT/WEB-INF/web.xml")).unwrap();
        let jars = ["websocket-api", "websocket-client-api", "servlet-api"];
        let jars = jars.map(|jar| format!("{}/lib/{jar}.jar", home.display())).join(":");
        let compiled = of_java("javac")
            .args(["-proc:none", "-J-XX:TieredStopAtLevel=1", "-classpath", &jars, "-d"])
            .args([&classes, &sources.join("Endpoints.java")])
            .output()
            .expect("javac starts: see ENDPOINT_JAVA_HOME in tests/run.sh");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));

        let bin = home.join("bin").display().to_string();
        let child = of_java("java")
            // a short life on few cores
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-classpath", &format!("{bin}/bootstrap.jar:{bin}/tomcat-juli.jar")])
            .arg(format!("-Dcatalina.home={}", home.display()))
            .arg(format!("-Dcatalina.base={}", base.display()))
            .arg(format!("-Djava.io.tmpdir={}", base.join("temp").display()))
            .args(["-Duser.language=en", "org.apache.catalina.startup.Bootstrap", "start"])
            // this pipe is closed when the test ends, however it ends: then Tomcat does, too
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("java starts: see ENDPOINT_JAVA_HOME in tests/run.sh");
        // from here on it is ended whatever happens
        let mut tomcat = Self { addr: SocketAddr::from(([127, 0, 0, 1], 0)), child, base };
        let port = tomcat.port();
        tomcat.addr.set_port(port);
        tomcat
    }

    /// Reads the log until all is served; the name of the connector says on which port.
    fn port(&mut self) -> u16 {
        let log = BufReader::new(self.child.stderr.take().unwrap());
        let (lines, read) = channel();
        std::thread::spawn(move || {
            // to its end, since nobody else empties the pipe
            for line in log.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let (began, mut port, mut output) = (Instant::now(), None, String::new());
        loop {
            match read.recv_timeout(START.saturating_sub(began.elapsed())) {
                Ok(line) => {
                    if let Some((_, rest)) = line.split_once("Starting ProtocolHandler [\"http-nio-127.0.0.1-auto-1-") {
                        port = rest.trim_end_matches("\"]").parse().ok();
                    }
                    output += &format!("{line}\n");
                    if line.contains("Server startup in") {
                        return port.unwrap_or_else(|| panic!("Tomcat did not log its port:\n{output}"));
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("Tomcat did not start within {START:?}:\n{output}"),
                Err(RecvTimeoutError::Disconnected) => panic!("Tomcat ended:\n{output}"),
            }
        }
    }
}

impl Drop for Tomcat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.base);
    }
}

fn of_java(program: &str) -> Command {
    match env::var("ENDPOINT_JAVA_HOME") {
        Ok(home) => Command::new(Path::new(&home).join("bin").join(program)),
        Err(_) => Command::new(program),
    }
}
