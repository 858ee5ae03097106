//! The options of what is observed of each message, for the builder of a server or a container.

/// The setters of [`ObserveSettings`](crate::observe::observing::ObserveSettings). The builder has the methods
/// `request_settings` and `session_settings`.
macro_rules! observe_setters {
    ($builder:ty) => {
        /// What is observed of each message. Counting needs no option.
        impl $builder {
            /// Whether the time of each message that a handler takes, or of each part, is measured, from the first
            /// interceptor to the end of the handler, for [`stats`](crate::ServerContainer::stats) and the metrics. An echo
            /// of 20 bytes takes about 6 % more CPU with it. Default: no.
            pub fn measure_handlers(mut self, is_measured: bool) -> Self {
                self.request_settings().observing.measures_handlers = is_measured;
                self
            }

            /// Whether each message that a handler takes, or each part, has a span of `tracing`, `websocket.message` at target
            /// `endpoint_runtime::messages` and level debug, around its interceptors and its handler. It costs about a
            /// microsecond a message where a subscriber takes it, and a third of that where none does. Handshakes have
            /// their span without this. Default: no.
            pub fn trace_messages(mut self, is_traced: bool) -> Self {
                self.request_settings().observing.traces_messages = is_traced;
                self
            }

            /// Logs each message in and out, with a part of its payload and without the secrets that can be recognized:
            /// for development, and to hunt a fault. See [`TrafficLog`](crate::TrafficLog) for what it shows and what it
            /// cannot hide. The lines appear where a filter admits `endpoint_runtime::traffic=debug`. Default: no log,
            /// which costs nothing.
            pub fn traffic_log(mut self, log: $crate::observe::traffic::TrafficLog) -> Self {
                let set = $crate::container::options::set_once(
                    &mut self.request_settings().observing.traffic,
                    log,
                    "the traffic log",
                );
                self.session_settings().mistakes.extend(set.err());
                self
            }
        }
    };
}
pub(crate) use observe_setters;
