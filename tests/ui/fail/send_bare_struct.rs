use endpoint_runtime::prelude::*;

struct Said;

async fn say(session: &Session) -> Result<(), Error> {
    session.basic_remote().send_object(&Said).await
}

fn say_to_all(session: &Session) {
    let _ = session.async_remote().send_object(&Said);
    let _ = session.open_sessions().async_remote().send_object(&Said);
}

fn main() {}
