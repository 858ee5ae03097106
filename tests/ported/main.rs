//! Three applications as their users would port them, and what their clients see: a chat of Tomcat, an axum application
//! with its own WebSocket handler, a gateway of NestJS.

#[path = "../support/mod.rs"]
mod support;

mod axum_application;
mod nest_gateway;
mod tomcat_chat;
