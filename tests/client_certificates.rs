//! Mutual TLS: who is admitted, what the handshake shows, what each side sees of a refusal.

mod support;

use std::io;

use endpoint_runtime::prelude::*;
use support::authority::{Authority, Pair, client_config, connect, upgrade, uri};
use support::ear::Ear;
use support::{Journal, TestServer, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};

struct User(String);

impl Principal for User {
    fn name(&self) -> &str {
        &self.0
    }
}

/// Notes who opened a session, and whether the session still knows the certificate.
#[server_endpoint("/who")]
struct Who {
    journal: Journal,
}

impl Who {
    #[on_open]
    fn open(&self, session: &Session) {
        let principal = session.principal::<User>();
        self.journal.note(principal.map_or("nobody".to_owned(), |user| user.0.clone()));
    }
}

/// Makes a principal of the certificate.
struct ByCertificate;

impl HandshakeHook for ByCertificate {
    async fn handshake(&self, request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        if let Some(certificate) = request.client_certificate() {
            let name = certificate.common_name().unwrap_or("no name");
            let dns: Vec<_> = certificate.dns_names().collect();
            let uris: Vec<_> = certificate.uris().collect();
            let (der, chain) = (certificate.der(), certificate.chain().count());
            let user = format!("{name} {dns:?} {uris:?} {} {chain} {}", der.len(), certificate.fingerprint());
            response.set_principal(User(user));
        }
        Ok(())
    }
}

async fn serve(tls: TlsConfig) -> (TestServer, Journal) {
    let journal = Journal::default();
    let own = journal.clone();
    let container =
        ServerContainer::builder().endpoint_with(move |_| Ok(Who { journal: own.clone() })).handshake(ByCertificate);
    (TestServer::serving(Server::with(container).tls(tls)).await, journal)
}

/// Two authorities: of servers, and of clients.
struct Setting {
    servers: Authority,
    clients: Authority,
}

impl Setting {
    fn new() -> Self {
        Self { servers: Authority::new(), clients: Authority::new() }
    }

    fn tls(&self) -> TlsConfig {
        let own = self.servers.sign("server", &["localhost"]);
        TlsConfig::from_pem(own.certificate, own.key).unwrap()
    }

    fn required(&self) -> TlsConfig {
        let wanted = ClientCertificates::required(&self.clients.certificate).unwrap();
        self.tls().client_certificates(wanted).unwrap()
    }
}

/// Connects, asks for a session and returns the status line, or the error at whichever step it came.
async fn ask(config: ClientConfig, server: &TestServer) -> io::Result<String> {
    let mut stream = connect(config, server, "localhost").await?;
    stream.write_all(&upgrade("/who")).await?;
    let mut answer = [0; 12];
    soon(stream.read_exact(&mut answer)).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn handshake_shows_the_verified_certificate() {
    let setting = Setting::new();
    let (server, journal) = serve(setting.required()).await;
    let ann = setting.clients.sign_with("ann", &["ann.example"], |params| {
        params.subject_alt_names.push(uri("spiffe://example.org/ann"));
    });
    let fingerprint = {
        use tokio_rustls::rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let hash = TLS13_AES_128_GCM_SHA256.tls13().unwrap().common.hash_provider.hash(&ann.der());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let expected = format!("ann [\"ann.example\"] [\"spiffe://example.org/ann\"] {} 1 {fingerprint}", ann.der().len());
    for version in [&TLS12, &TLS13] {
        let config = client_config(&setting.servers.certificate, Some(&ann), &[version]);
        assert_eq!(ask(config, &server).await.unwrap(), "HTTP/1.1 101");
        journal.expect(&expected).await;
    }
    // and our own client presents one as well
    let trust = Trust::only(&setting.servers.certificate).unwrap().presenting(&ann.certificate, &ann.key).unwrap();
    let container = ClientContainer::builder().trust(trust).build();
    let uri = format!("wss://localhost:{}/who", server.addr.port());
    soon(container.connect(Ear(Journal::default()), uri)).await.unwrap();
    journal.expect(&expected).await;
}

#[tokio::test]
async fn clients_without_a_valid_certificate_are_refused_with_the_reason() {
    let setting = Setting::new();
    let revoked = setting.clients.sign_with("bob", &[], |params| params.serial_number = Some(7u64.into()));
    let wanted = ClientCertificates::required(&setting.clients.certificate).unwrap();
    let wanted = wanted.revoked(setting.clients.revoke(7)).unwrap();
    let (server, journal) = serve(setting.tls().client_certificates(wanted).unwrap()).await;
    let unknown = Authority::new().sign("eve", &[]);
    let expired = setting.clients.sign_expired("old");
    for version in [&TLS12, &TLS13] {
        for (own, alert) in [
            (None, "CertificateRequired"),
            (Some(&unknown), "UnknownCA"),
            (Some(&expired), "CertificateExpired"),
            (Some(&revoked), "CertificateRevoked"),
        ] {
            let config = client_config(&setting.servers.certificate, own, &[version]);
            let error = ask(config, &server).await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(alert), "{:?} expects {alert}: {text}", version.version);
        }
    }
    // a certificate that is not in the list is admitted
    let good = setting.clients.sign_with("ann", &[], |params| params.serial_number = Some(8u64.into()));
    let config = client_config(&setting.servers.certificate, Some(&good), &[&TLS13]);
    assert_eq!(ask(config, &server).await.unwrap(), "HTTP/1.1 101");
    assert!(journal.next().await.starts_with("ann "));
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn our_client_reports_a_refusal_as_an_error_of_tls_or_of_the_connection() {
    let setting = Setting::new();
    let (server, _journal) = serve(setting.required()).await;
    let container = ClientContainer::builder().trust(Trust::only(&setting.servers.certificate).unwrap()).build();
    let uri = format!("wss://localhost:{}/who", server.addr.port());
    let error = soon(container.connect(Ear(Journal::default()), uri)).await.unwrap_err();
    // with TLS 1.3 the client has finished its handshake when the alert comes
    assert!(format!("{error:?}").contains("CertificateRequired"), "{error:?}");
}

#[tokio::test]
async fn optional_certificate_may_be_missing_but_not_wrong() {
    let setting = Setting::new();
    let wanted = ClientCertificates::optional(&setting.clients.certificate).unwrap();
    let (server, journal) = serve(setting.tls().client_certificates(wanted).unwrap()).await;
    let config = |own: Option<&Pair>| client_config(&setting.servers.certificate, own, &[&TLS13]);
    assert_eq!(ask(config(None), &server).await.unwrap(), "HTTP/1.1 101");
    journal.expect("nobody").await;
    assert_eq!(ask(config(Some(&setting.clients.sign("ann", &[]))), &server).await.unwrap(), "HTTP/1.1 101");
    assert!(journal.next().await.starts_with("ann "));
    let error = ask(config(Some(&Authority::new().sign("eve", &[]))), &server).await.unwrap_err();
    assert!(error.to_string().contains("UnknownCA"), "{error:?}");
}

#[tokio::test]
async fn every_connection_verifies_its_certificate_anew() {
    let setting = Setting::new();
    let (server, _journal) = serve(setting.required()).await;
    let ann = setting.clients.sign("ann", &[]);
    for version in [&TLS12, &TLS13] {
        let config = std::sync::Arc::new(client_config(&setting.servers.certificate, Some(&ann), &[version]));
        for _ in 0..3 {
            let mut stream = connect(config.clone(), &server, "localhost").await.unwrap();
            stream.write_all(&upgrade("/who")).await.unwrap();
            soon(stream.read_exact(&mut [0; 12])).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[test]
fn unusable_authorities_and_lists_are_errors() {
    let setting = Setting::new();
    for pem in ["", "nonsense"] {
        assert!(ClientCertificates::required(pem).unwrap_err().is_tls());
        assert!(ClientCertificates::optional(pem).unwrap_err().is_tls());
        let wanted = ClientCertificates::required(&setting.clients.certificate).unwrap();
        assert!(wanted.revoked(pem).unwrap_err().is_tls());
    }
    let pair = setting.clients.sign("ann", &[]);
    let other = setting.clients.sign("bob", &[]);
    assert!(Trust::public().presenting(&pair.certificate, other.key).unwrap_err().is_tls());
}
