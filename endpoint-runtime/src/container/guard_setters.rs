//! The setters of interceptors and rates, for the builders of servers and containers.

/// The setters of [`GuardSettings`](super::guards::GuardSettings), for the builder of a server or a container.
macro_rules! guard_setters {
    ($builder:ty) => {
        /// Options for what stands between messages and their handlers.
        impl $builder {
            /// Adds an [interceptor](crate::Interceptor) around the handlers of every endpoint of the container: annotated,
            /// added with `add_endpoint`, upgraded by hand or adopted. One instance serves all sessions. It runs outside
            /// those of the endpoints and those added later. Default: none, and then no message is looked at for one.
            pub fn intercept(mut self, interceptor: impl $crate::endpoint::interceptor::Interceptor) -> Self {
                let interceptor = $crate::endpoint::interceptor::SharedInterceptor::new(interceptor);
                self.request_settings().guards.interceptors.push(interceptor);
                self
            }

            /// How much the peer of each session may send, and what happens to more, unless the endpoint specifies its own
            /// rate. Default: no limit.
            pub fn rate(mut self, rate: $crate::limits::message_rate::MessageRate) -> Self {
                let set =
                    $crate::container::options::set_once(&mut self.request_settings().guards.rate, rate, "`rate`");
                self.session_settings().mistakes.extend(set.err());
                self
            }
        }
    };
}
pub(crate) use guard_setters;
