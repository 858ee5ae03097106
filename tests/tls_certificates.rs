//! The certificates of a server: several by name, files that change, resumption, a configuration of one's own.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::rustls::ServerConfig;
use support::authority::{Authority, Pair, client_config, connect};
use support::ear::Ear;
use support::{Journal, TestServer, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }
}

async fn serve(tls: &TlsConfig) -> TestServer {
    TestServer::serving(Server::with(ServerContainer::builder().register::<Echo>()).tls(tls.clone())).await
}

fn of(pair: &Pair) -> TlsConfig {
    TlsConfig::from_pem(&pair.certificate, &pair.key).unwrap()
}

/// The certificate that a client sees that asks for `name`; it need not be valid for that name.
async fn seen(server: &TestServer, name: &str) -> Vec<u8> {
    let mut config = client_config("", None, &[&TLS13]);
    config.dangerous().set_certificate_verifier(Arc::new(anyone::Anyone));
    let stream = connect(config, server, name).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// A verifier that trusts everybody, to look at what is presented.
mod anyone {
    use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use tokio_rustls::rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct Anyone;

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
}

#[tokio::test]
async fn name_that_the_client_asks_for_decides_which_certificate_it_sees() {
    let authority = Authority::new();
    let [default, wild, exact, given] = [
        authority.sign("default", &["localhost"]),
        authority.sign("wild", &["*.example.org", "example.org"]),
        authority.sign("exact", &["chat.example.org"]),
        authority.sign("given", &["of.its.own"]),
    ];
    let tls = of(&default)
        .with_certificate(&wild.certificate, &wild.key)
        .and_then(|tls| tls.with_certificate(&exact.certificate, &exact.key))
        .and_then(|tls| tls.with_certificate_for(["Given.Example", "*.given.example"], &given.certificate, &given.key))
        .unwrap();
    let server = serve(&tls).await;
    for (name, expected) in [
        ("localhost", &default),
        ("example.org", &wild),
        ("a.example.org", &wild),
        ("A.EXAMPLE.ORG", &wild),
        ("chat.example.org", &exact),
        // a wildcard is for one label
        ("a.b.example.org", &default),
        ("given.example", &given),
        ("x.given.example", &given),
        ("of.its.own", &default),
        ("unknown.example", &default),
        // an address is not sent
        ("127.0.0.1", &default),
    ] {
        assert_eq!(seen(&server, name).await, expected.der(), "{name}");
    }

    // the same names again replace it, while the server runs
    let renewed = authority.sign("exact", &["chat.example.org"]);
    let _same = tls.clone().with_certificate(&renewed.certificate, &renewed.key).unwrap();
    assert_eq!(seen(&server, "chat.example.org").await, renewed.der());
    assert_eq!(seen(&server, "a.example.org").await, wild.der());

    let nameless = authority.sign("nameless", &[]);
    let error = tls.clone().with_certificate(&nameless.certificate, &nameless.key).unwrap_err();
    assert!(error.is_tls() && error.to_string().contains("with_certificate_for"), "{error:?}");
    assert!(tls.with_certificate(&renewed.certificate, &nameless.key).unwrap_err().is_tls());
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("endpoint-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(certificate: &Path, key: &Path, pair: &Pair) {
    fs::write(certificate, &pair.certificate).unwrap();
    fs::write(key, &pair.key).unwrap();
}

/// Waits until a client sees `pair`.
async fn until_seen(server: &TestServer, name: &str, pair: &Pair) {
    let looking = async {
        while seen(server, name).await != pair.der() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(looking).await;
}

#[tokio::test]
async fn files_that_change_are_presented_as_pairs() {
    let (authority, folder) = (Authority::new(), Folder::new("watched"));
    let (certificate, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let (second_certificate, second_key) = (folder.path("second.pem"), folder.path("second.key"));
    let [first, renewed, third] = [(); 3].map(|()| authority.sign("server", &["localhost"]));
    let [other, other_renewed] = [(); 2].map(|()| authority.sign("other", &["other.example"]));
    write(&certificate, &key, &first);
    write(&second_certificate, &second_key, &other);
    let tls = TlsConfig::from_files(&certificate, &key).unwrap().with_files(&second_certificate, &second_key).unwrap();
    let server = serve(&tls.watch(Duration::from_millis(5))).await;
    assert_eq!(seen(&server, "localhost").await, first.der());
    assert_eq!(seen(&server, "other.example").await, other.der());

    // half of a pair: the previous one stays, while the other files are still looked at
    fs::write(&certificate, &renewed.certificate).unwrap();
    write(&second_certificate, &second_key, &other_renewed);
    until_seen(&server, "other.example", &other_renewed).await;
    assert_eq!(seen(&server, "localhost").await, first.der());
    fs::write(&key, &renewed.key).unwrap();
    until_seen(&server, "localhost", &renewed).await;

    // a missing file, and then a link in its place
    fs::remove_file(&certificate).unwrap();
    fs::remove_file(&key).unwrap();
    write(&second_certificate, &second_key, &other);
    until_seen(&server, "other.example", &other).await;
    assert_eq!(seen(&server, "localhost").await, renewed.der());
    write(&folder.path("new.pem"), &folder.path("new.key"), &third);
    #[cfg(unix)]
    for (file, link) in [("new.pem", &certificate), ("new.key", &key)] {
        std::os::unix::fs::symlink(folder.path(file), link).unwrap();
    }
    #[cfg(not(unix))]
    write(&certificate, &key, &third);
    until_seen(&server, "localhost", &third).await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_the_next_look_at_the_files() {
    let (authority, folder) = (Authority::new(), Folder::new("stops"));
    let (certificate, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    write(&certificate, &key, &authority.sign("server", &["localhost"]));
    let server = serve(&TlsConfig::from_files(&certificate, &key).unwrap()).await;
    let before = std::time::Instant::now();
    server.shutdown().await;
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn files_are_read_again_on_demand_or_not_at_all() {
    let (authority, folder) = (Authority::new(), Folder::new("demand"));
    let (certificate, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let [first, renewed] = [(); 2].map(|()| authority.sign("server", &["localhost"]));
    let error = TlsConfig::from_files(&certificate, &key).unwrap_err();
    assert!(error.is_tls() && error.to_string().contains("cert.pem"), "{error:?}");
    write(&certificate, &key, &first);
    let tls = TlsConfig::from_files(&certificate, &key).unwrap().watch(None);
    let server = serve(&tls).await;
    fs::write(&certificate, &renewed.certificate).unwrap();
    let error = tls.reload_files().unwrap_err();
    assert!(error.is_tls() && error.to_string().contains("key.pem"), "{error:?}");
    assert_eq!(seen(&server, "localhost").await, first.der());
    fs::write(&key, &renewed.key).unwrap();
    assert_eq!(seen(&server, "localhost").await, first.der());
    tls.reload_files().unwrap();
    assert_eq!(seen(&server, "localhost").await, renewed.der());
    assert!(of(&first).reload_files().unwrap_err().is_tls());
}

/// Connects, reads a page, so that the tickets have come, and returns how the handshake went.
async fn kind(config: &Arc<ClientConfig>, server: &TestServer) -> Option<HandshakeKind> {
    let mut stream = connect(config.clone(), server, "localhost").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut page = Vec::new();
    soon(stream.read_to_end(&mut page)).await.unwrap();
    assert!(page.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&page));
    stream.get_ref().1.handshake_kind()
}

#[tokio::test]
async fn second_connection_resumes_the_session_also_after_a_reload() {
    let authority = Authority::new();
    let [first, renewed] = [(); 2].map(|()| authority.sign("server", &["localhost"]));
    for version in [&TLS12, &TLS13] {
        let tls = of(&first);
        let server = serve(&tls).await;
        let config = Arc::new(client_config(&authority.certificate, None, &[version]));
        assert_eq!(kind(&config, &server).await, Some(HandshakeKind::Full));
        for _ in 0..3 {
            assert_eq!(kind(&config, &server).await, Some(HandshakeKind::Resumed), "{version:?}");
        }
        tls.reload(&renewed.certificate, &renewed.key).unwrap();
        assert_eq!(kind(&config, &server).await, Some(HandshakeKind::Resumed), "{version:?}");
        // a client that knows no ticket sees the new one
        assert_eq!(seen(&server, "localhost").await, renewed.der());
    }
}

#[tokio::test]
async fn configuration_of_rustls_is_used_as_it_is() {
    let authority = Authority::new();
    let pair = authority.sign("server", &["localhost"]);
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let builder = builder.with_protocol_versions(&[&TLS12]).unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    // small records, as many as a message needs
    config.max_fragment_size = Some(64);
    let tls = TlsConfig::from_rustls(Arc::new(config.clone())).unwrap();
    let server = serve(&tls).await;

    let mut client = client_config(&authority.certificate, None, &[&TLS12]);
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = connect(client, &server, "localhost").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(connect(client_config(&authority.certificate, None, &[&TLS13]), &server, "localhost").await.is_err());

    let heard = Journal::default();
    let container = ClientContainer::builder().trust(Trust::only(&authority.certificate).unwrap()).build();
    let uri = format!("wss://localhost:{}/echo", server.addr.port());
    let session = soon(container.connect(Ear(heard.clone()), uri)).await.unwrap();
    let text = "0123456789".repeat(20_000);
    session.async_remote().send_text(text.clone());
    heard.expect(&text).await;

    // what it has is changed there
    let own = pair.clone();
    assert!(tls.reload(&own.certificate, &own.key).unwrap_err().is_tls());
    assert!(tls.reload_files().unwrap_err().is_tls());
    assert!(tls.certificate_pem().is_empty());
    assert!(tls.clone().with_certificate(&own.certificate, &own.key).unwrap_err().is_tls());
    let wanted = ClientCertificates::required(&authority.certificate).unwrap();
    assert!(tls.client_certificates(wanted).unwrap_err().is_tls());
    config.max_early_data_size = 1;
    assert!(TlsConfig::from_rustls(Arc::new(config)).unwrap_err().is_tls());
}
