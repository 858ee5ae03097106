//! Several containers that act as one, on an engine in memory. The same guarantees are asked of Redis and NATS in
//! `tests/engines.rs`.

use std::time::Duration;

use endpoint_runtime::cluster::{HealthStatus, WhileDown};
use endpoint_runtime::prelude::*;
use endpoint_runtime::test::{TestClient, TestCluster};
use tokio::time::{Instant, sleep, timeout};

/// A user by name, from `?name=`.
struct Named(String);

impl Principal for Named {
    fn name(&self) -> &str {
        &self.0
    }
}

async fn by_name(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
    if let Some((_, name)) = request.query_params().find(|(key, _)| key == "name") {
        response.set_principal(Named(name.into_owned()));
    }
    Ok(())
}

#[server_endpoint("/chat/{room}")]
#[derive(Default)]
struct Chat;

impl Chat {
    /// Greets when every node knows.
    #[on_open]
    async fn enter(&mut self, session: &Session, #[path_param] room: String) -> &'static str {
        match session.join(&room).await {
            Ok(()) => "known",
            Err(error) if error.is_cluster() => "here",
            Err(_) => "refused",
        }
    }

    /// Everyone in the room gets the line.
    #[on_message]
    fn say(&mut self, line: &str, session: &Session, #[path_param] room: String) {
        session.room(&room).async_remote().send_text(line);
    }
}

fn cluster(nodes: usize) -> TestCluster {
    TestCluster::new(nodes, |builder| builder.register::<Chat>().handshake(by_name))
}

/// Connects a session and waits until every node knows that it is in its room.
async fn enter(cluster: &TestCluster, node: usize, target: &str) -> TestClient {
    let mut client = cluster.node(node).connect(target).await;
    client.expect_text("known").await;
    client
}

#[tokio::test(start_paused = true)]
async fn a_message_reaches_members_on_every_node_once() {
    let cluster = cluster(3);
    cluster.settle().await;
    let mut members = Vec::new();
    for node in 0..3 {
        members.push(enter(&cluster, node, "/chat/42").await);
    }
    let mut stranger = enter(&cluster, 1, "/chat/43").await;
    for number in 0..3 {
        members[number].send_text(format!("from {number}")).await;
        for member in &mut members {
            member.expect_text(&format!("from {number}")).await;
        }
    }
    sleep(Duration::from_secs(1)).await;
    members[0].send_text("the last").await;
    for member in &mut members {
        // nothing came twice
        member.expect_text("the last").await;
    }
    stranger.send_text("to myself").await;
    stranger.expect_text("to myself").await;
}
